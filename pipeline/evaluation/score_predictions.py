"""Score predictions against labels.

In: predictions.csv or submission.csv, and a table of labels. Out: a Score per task and for the joint class.

Without a column of people in the table of labels, each photo counts as another person's, and the intervals are too
narrow.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache.errors import DataError
from classify.evaluation.metrics import Score, score_tasks
from classify.tasks import UNLABELLED, Task, joint_names
from pipeline.console import counted
from pipeline.evaluation.answer_table import Answers, read_answers
from pipeline.evaluation.photo_names import match_photos
from pipeline.prediction.prediction_record import PREDICTIONS, read_record

NO_COLUMNS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The scores of some predictions."""

    scores: dict[str, Score]  # "joint" first, then each task that the table of labels covers
    classes: dict[str, list[str]]  # class names per score
    photos: int  # number of photos scored: those with a label
    matched: int  # how many of them have a row in the predictions
    unanswered: int  # how many of them lack a prediction, which counts as wrong
    trained_on: int | None  # how many of them the networks were trained on; None if the predictions don't say
    remarks: tuple[str, ...]  # what was left out or is not as it should be, a sentence each
    warning: str = ""  # why the scores are not those of new photos, if they are not


def evaluate(
    predictions: Path, truth: Path, tasks: Sequence[Task], columns: Mapping[str, str] = NO_COLUMNS
) -> Evaluation:
    """Score each photo that the table `truth` lists.

    Args:
        predictions: the table of predictions.
        truth: the table of labels.
        tasks: what was predicted.
        columns: the tables' columns, as for `read_answers`.

    Raises:
        DataError: a table lacks its columns or holds a photo twice, or no photo is in both tables.
        UsageError: a file is missing.
    """
    predicted, true = read_answers(predictions, tasks, columns), read_answers(truth, tasks, columns)
    rows = match_photos(predicted.names, true.names, str(predictions), str(truth))
    labelled = np.flatnonzero((true.codes != UNLABELLED).any(axis=1))
    if not len(labelled):
        raise DataError(
            f"{truth} has no label for any photo; all cells of {', '.join(t.name for t in tasks)} are empty"
        )
    if lacking := [name for name in predicted.absent if name not in true.absent]:
        leave_out = " ".join(f"--set tasks.{name}=null" for name in lacking)
        raise DataError(f"{predictions} has no column for {' and '.join(lacking)}; leave it out with {leave_out}")

    # Class indices, (photos, tasks)
    predicted_rows = np.array([-1 if rows[row] is None else rows[row] for row in labelled.tolist()], np.intp)
    is_matched = predicted_rows >= 0
    true_codes = true.codes[labelled]
    predicted_codes = np.where(is_matched[:, None], predicted.codes[predicted_rows], UNLABELLED)

    # Scores
    people = [(true.people or true.names)[row] for row in labelled.tolist()]
    truths = {task.name: true_codes[:, index] for index, task in enumerate(tasks)}
    answers = {task.name: predicted_codes[:, index] for index, task in enumerate(tasks)}
    scores = score_tasks(tasks, truths, answers, people)
    classes = {"joint": joint_names(tasks)} | {task.name: list(task.classes) for task in tasks}
    trained_on, warning = _trained_on(predictions, predicted.is_trained_on, predicted_rows[is_matched])
    remarks = _remarks(true, str(truth), len(predicted.names) - sum(row is not None for row in rows))
    return Evaluation(
        scores,
        {name: classes[name] for name in scores},
        photos=len(labelled),
        matched=int(is_matched.sum()),
        unanswered=int(((predicted_codes == UNLABELLED) & (true_codes != UNLABELLED)).any(axis=1).sum()),
        trained_on=trained_on,
        remarks=tuple(remarks),
        warning=warning,
    )


def _trained_on(
    predictions: Path, is_trained_on: NDArray[np.bool_] | None, scored: NDArray[np.intp]
) -> tuple[int | None, str]:
    """Count the photos that the networks were trained on, and say what that means for the scores."""
    record = read_record(predictions)
    if is_trained_on is not None:
        count = int(is_trained_on[scored].sum())
        which = f"{count:,} of the {len(scored):,} photos"
    elif record is not None and record.trained_on is None:
        return None, "whether the networks were trained on these photos is not known: an older version made the bundle"
    elif record is not None:
        count = record.trained_on or 0
        which = f"{count:,} of the {sum(record.counts.values()):,} photos of {predictions.with_name(PREDICTIONS)}"
    else:
        return None, ""
    if not count:
        return 0, ""
    return count, f"the networks were trained on {which}, so this is not a score of new photos"


def _remarks(true: Answers, truth: str, unlisted: int) -> Iterator[str]:
    """Yield a sentence for everything that is not scored, or not as it should be."""
    if true.absent:
        yield f"{truth} has no column for {' and '.join(true.absent)}: not scored, and neither is the joint class"
    if unlabelled := int((true.codes == UNLABELLED).all(axis=1).sum()):
        yield f"{truth} has no label for {counted(unlabelled, 'photo')}: not scored"
    if unlisted:
        yield f"{truth} does not list the photos of {counted(unlisted, 'prediction')}: not scored"
    if true.people is None:
        yield (
            f"{truth} has no column of people, so the intervals are drawn over photos, too narrow where a person has "
            "several; name the column with --set data.columns.person=NAME"
        )
