"""Accuracy on groups of held-out photos: which photos a run predicts well, and which badly.

In: RUN/validation.csv. Out: for each combination of true classes, and of file names where they repeat, the share of
correct predictions.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import polars as pl

from classify.evaluation.metrics import bootstrap_counts, percentile_interval
from classify.tasks import UNLABELLED, Task
from pipeline.evaluation.validation_table import Validation

MAX_STEMS = 12  # where there are more different file names, they don't name a type of photo


def group_table(validation: Validation, tasks: Sequence[Task], *, draws: int = 1000, seed: int = 0) -> pl.DataFrame:
    """Return one row per group, the least accurate first.

    A group is named after the true classes of its photos, as in "wear male >=60". Where a few file names repeat for
    every person, as mask5 does in the competition's data, groups are split by file name, too. Photos that lack a label
    are in no group. `draws` and `seed` are those of the bootstrap.

    Returns:
        group, photos, people; then the share of photos for which all tasks are right and its 95% interval over people
        (accuracy, low, high); then the share of right predictions of each task (right_TASK).
    """
    codes = {task.name: validation.codes[task.name] for task in tasks}
    is_labelled = np.min([true_codes != UNLABELLED for true_codes, _ in codes.values()], axis=0)

    # Group names
    stems = [PurePosixPath(path).stem for path in validation.table["path"]]
    use_stems = len(set(stems)) <= min(MAX_STEMS, len(stems) // 2)
    groups: list[str] = []
    for row, stem in enumerate(stems):
        classes = [task.classes[codes[task.name][0][row]] for task in tasks]
        groups.append(" ".join([stem, *classes] if use_stems else classes))

    # One row per photo, then one per group
    right = {f"right_{name}": true_codes == predicted_codes for name, (true_codes, predicted_codes) in codes.items()}
    all_right = np.min([*right.values()], axis=0)
    photos = pl.DataFrame({"group": groups, "person": validation.people, "all": all_right, **right})
    by_group = photos.filter(pl.Series(is_labelled)).group_by("group", maintain_order=True)
    rows = [_group_row(str(name), part, list(right), draws, seed) for (name,), part in by_group]
    columns = ["group", "photos", "people", "accuracy", "low", "high", *right]
    return pl.DataFrame(rows, schema=columns, orient="row").sort("accuracy", "group")


def _group_row(name: str, part: pl.DataFrame, task_columns: Sequence[str], draws: int, seed: int) -> list[object]:
    """Return the cells of one group; `part` has its photos."""
    people, person = np.unique(part["person"].to_numpy(), return_inverse=True)
    counts = bootstrap_counts(len(people), draws, seed)  # (draws, people)
    photos = counts @ np.bincount(person)
    low, high = percentile_interval((counts @ np.bincount(person, part["all"].to_numpy())) / photos)
    shares = [part[column].mean() for column in task_columns]
    return [name, len(part), len(people), part["all"].mean(), low, high, *shares]
