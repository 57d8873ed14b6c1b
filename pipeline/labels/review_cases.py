"""What there is to go through in a review: cases, each a label of a person, of a photo, or of two that were swapped.

In: runs that held photos out, and their data set. Out: a Review, whose cases are the suspects of `labels suspects`, the
worst mistakes, or what a query finds.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache.errors import BundleError, DataError, UsageError
from classify.evaluation.suspect_labels import is_label_of_person
from classify.tasks import UNLABELLED, Task
from pipeline.context import RunContext
from pipeline.detection.detect import source_ids
from pipeline.evaluation.out_of_fold import OutOfFold, read_out_of_fold
from pipeline.intake.corrections import load_labelled
from pipeline.labels.review_query import QueryTable
from pipeline.labels.suspects import given_codes, suspects_of
from pipeline.run_state import read_run
from pipeline.safe_csv import read_back

MOST_SHOWN = 48  # photos of a person beside those in question


@dataclass(frozen=True, slots=True)
class Case:
    """Labels of one task that are decided together."""

    task: Task
    rows: tuple[int, ...]  # the photos in question
    suggested: tuple[int, ...]  # a class index for each of them
    score: float  # the lower, the more doubtful: of a suspect its score, else the probability of the given label


@dataclass(frozen=True)
class Review:
    """The held-out photos of runs, with their labels as they are now."""

    runs: tuple[Path, ...]
    data: Path
    tasks: Sequence[Task]
    held_out: OutOfFold
    codes: Mapping[str, NDArray[np.intp]]  # task -> (N,) given class indices

    def cases(self, show: str, query: str = "") -> list[Case]:
        """The cases of a view: suspects, mistakes, or what a query finds.

        Raises:
            UsageError: there is no such view, or see the view's own method.
        """
        views = {"suspects": self.suspects, "mistakes": self.mistakes, "query": lambda: self.query(query)}
        if show not in views:
            raise UsageError(f"there are no {show!r}; there are {', '.join(views)}")
        return views[show]()

    def suspects(self) -> list[Case]:
        """The labels that `labels suspects` lists, the most doubtful first.

        Raises:
            UsageError: cleanlab is not installed.
        """
        return self._suspects

    def mistakes(self) -> list[Case]:
        """The labels that are not the most probable class, the worst first."""
        rows = {
            task.name: np.flatnonzero(
                (self.codes[task.name] != UNLABELLED)
                & (self.codes[task.name] != self.held_out.probabilities[task.name].argmax(axis=1))
            ).tolist()
            for task in self.tasks
        }
        return self._cases(rows)

    def query(self, text: str) -> list[Case]:
        """The labels of the photos for which a query holds, the least probable first.

        Raises:
            UsageError: it is no condition on the columns of a query.
        """
        return self._cases(self._query_table.rows(text))

    def others(self, case: Case) -> list[int]:
        """The other photos of the people in a case; of very many, the first."""
        people = {self.held_out.photos[row].person for row in case.rows}
        in_question = set(case.rows)
        rows = (row for person in sorted(people) for row in self._rows_of_person[person])
        return [row for row in rows if row not in in_question][:MOST_SHOWN]

    @cached_property
    def _suspects(self) -> list[Case]:
        found = [
            Case(task, suspect.rows, suspect.suggested, suspect.score)
            for task in self.tasks
            for suspect in suspects_of(task, self.held_out).ranked
        ]
        return sorted(found, key=lambda case: case.score)

    @cached_property
    def _query_table(self) -> QueryTable:
        return QueryTable(self.held_out, self.tasks, self.codes)

    @cached_property
    def _rows_of_person(self) -> Mapping[str, Sequence[int]]:
        rows: defaultdict[str, list[int]] = defaultdict(list)
        for row, photo in enumerate(self.held_out.photos):
            rows[photo.person].append(row)
        return rows

    @cached_property
    def _labels_of_people(self) -> frozenset[str]:
        people = [photo.person for photo in self.held_out.photos]
        return frozenset(task.name for task in self.tasks if is_label_of_person(self.codes[task.name], people))

    def _cases(self, rows: Mapping[str, Sequence[int]]) -> list[Case]:
        """Cases of photos: where the label belongs to a person, all photos of the person with the same label."""
        cases: dict[tuple[str, tuple[int, ...]], Case] = {}
        for task in self.tasks:
            codes, probabilities = self.codes[task.name], self.held_out.probabilities[task.name]
            for row in rows.get(task.name, ()):
                unit = (row,)
                if task.name in self._labels_of_people and codes[row] != UNLABELLED:
                    person = self.held_out.photos[row].person
                    unit = tuple(other for other in self._rows_of_person[person] if codes[other] == codes[row])
                if (task.name, unit) not in cases:
                    mean = probabilities[list(unit)].mean(axis=0)
                    score = 0.0 if codes[row] == UNLABELLED else float(mean[codes[row]])
                    cases[task.name, unit] = Case(task, unit, (int(mean.argmax()),) * len(unit), score)
        return sorted(cases.values(), key=lambda case: case.score)


def load_review(runs: Sequence[Path], data: Path | None, tasks: Sequence[Task], context: RunContext) -> Review:
    """Read what runs held out, and the labels of these photos as they are now.

    Args:
        runs: at least one; several held out other folds.
        data: the data set, where it is no longer where the first run was trained on it.
        tasks: those to review.
        context: its settings are those of the first run.

    Raises:
        BundleError: a run is not finished, is damaged, or held nobody out.
        UsageError: the data set is not where the run says.
        DataError: none of the held-out photos is in the data set.
    """
    states = [read_run(run) for run in runs]
    for state in states:
        if not (state.folder / "validation.csv").is_file():
            if state.status != "finished":
                raise BundleError(f"{state.describe()}. A review needs predictions for held-out people.")
            raise BundleError(
                f"{state.folder} held nobody out: there is no validation.csv in it.\n"
                "Train with a fold held out, as in faceline train DATA --set split.held_out=0."
            )
    data = data or _data_of(states[0].record, runs[0])
    dataset = load_labelled(data, context.settings).require_usable()
    names = _held_out_names(runs)
    listed = [photo for photo in dataset.train if photo.name in names]
    sources = source_ids([photo.path for photo in listed], context)
    photos = [photo for photo in listed if photo.path in sources]
    if not photos:
        raise DataError(
            f"none of the {len(names):,} held-out photos of {', '.join(map(str, runs))} is a labelled photo of {data}, "
            f"such as {min(names, default='')}; name the place where they are now with --data"
        )
    if gone := names - {photo.name for photo in photos}:
        context.console.warn(
            f"{len(gone):,} of {len(names):,} held-out photos are not in {data} any more, such as {min(gone)}"
        )
    held_out = read_out_of_fold(runs, photos, tasks, sources)
    if held_out.replaced:
        context.console.warn(
            f"photos that are other files than those that were held out: {len(held_out.replaced):,}, such as "
            f"{held_out.replaced[0]}; nothing is known of them"
        )
    codes = {task.name: given_codes(task, held_out.photos) for task in tasks}
    return Review(tuple(runs), data, tasks, held_out, codes)


def _data_of(record: Mapping[str, Any], run: Path) -> Path:
    data = record.get("data")
    if not isinstance(data, str):
        raise UsageError(f"{run} does not say what data it was trained on; name it with --data DATA")
    if not Path(data).exists():
        raise UsageError(f"{run} was trained on {data}, which is not there any more; name its place with --data DATA")
    return Path(data)


def _held_out_names(runs: Sequence[Path]) -> set[str]:
    """The paths in validation.csv of all runs; a file that can't be read is reported by whoever reads all of it."""
    names: set[str] = set()
    for run in runs:
        try:
            names |= set(read_back(pl.read_csv(run / "validation.csv", columns=["path"], infer_schema=False))["path"])
        except (pl.exceptions.PolarsError, OSError) as error:
            reason = str(error).split("\n")[0]
            raise BundleError(f"{run / 'validation.csv'} is damaged ({reason}); train again") from None
    return names
