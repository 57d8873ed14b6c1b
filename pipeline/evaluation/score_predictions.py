"""Score predictions against answers.

predictions.csv or submission.csv + a table of answers -> Score per task and for the joint class.

Answers may be the joint class (`ImageID,ans`), one column per task (class names, class indices, or the number that the
task's edges cut), or both; a `person` column makes the intervals honest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache.errors import DataError, UsageError
from classify.evaluation.metrics import Score, score
from classify.tasks import UNLABELLED, Task, joint_class, joint_names, split_joint

KEYS = ("ImageID", "path", "name", "file")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What predictions are worth.

    Attributes:
        scores: "joint" first, then one per task that the answers cover.
        classes: class names per score.
        codes: per score the true and the told class index of every photo.
        photos: photos scored.
        unanswered: of these, photos without an answer; each counts as wrong.
    """

    scores: dict[str, Score]
    classes: dict[str, list[str]]
    codes: dict[str, tuple[NDArray[np.intp], NDArray[np.intp]]]
    photos: int
    unanswered: int


def evaluate(predictions: Path, truth: Path, tasks: Sequence[Task]) -> Evaluation:
    """Score every photo that `truth` lists.

    Raises:
        DataError: a table lacks its columns, holds a photo twice, or none of the photos are in both.
        UsageError: a file is missing.
    """
    told_table, truth_table = _read(predictions), _read(truth)
    told_rows, truth_rows = _by_photo(told_table, predictions), _by_photo(truth_table, truth)
    if not told_rows.keys() & truth_rows.keys():
        raise DataError(f"{predictions} and {truth} have no photo in common; their names differ")
    told, true = _codes(told_table, tasks, predictions), _codes(truth_table, tasks, truth)
    at = [told_rows.get(photo, -1) for photo in truth_rows]
    answers = np.array([told[row] if row >= 0 else [UNLABELLED] * len(tasks) for row in at], dtype=np.intp)
    truths = true[list(truth_rows.values())]
    people = truth_table["person"].cast(pl.String).to_list() if "person" in truth_table.columns else list(truth_rows)
    return _score(answers, truths, people, tasks)


def _score(
    answers: NDArray[np.intp], truths: NDArray[np.intp], people: Sequence[str], tasks: Sequence[Task]
) -> Evaluation:
    columns: dict[str, tuple[NDArray[np.intp], NDArray[np.intp], list[str]]] = {
        "joint": (_joint(truths, tasks), _joint(answers, tasks), joint_names(tasks))
    }
    for index, task in enumerate(tasks):
        columns[task.name] = (truths[:, index], answers[:, index], list(task.classes))
    scores: dict[str, Score] = {}
    codes: dict[str, tuple[NDArray[np.intp], NDArray[np.intp]]] = {}
    for name, (true, told, classes) in columns.items():
        labelled = true != UNLABELLED
        if labelled.any():
            whose = [person for person, there in zip(people, labelled, strict=True) if there]
            scores[name] = score(true[labelled], told[labelled], whose, len(classes))
            codes[name] = (true, told)
    unanswered = int((_joint(answers, tasks) == UNLABELLED).sum())
    return Evaluation(scores, {n: columns[n][2] for n in scores}, codes, len(truths), unanswered)


def _joint(codes: NDArray[np.intp], tasks: Sequence[Task]) -> NDArray[np.intp]:
    return np.array([joint_class(tasks, row) for row in codes.tolist()], dtype=np.intp)


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    try:
        return pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a readable table: {error}") from None


def _by_photo(table: pl.DataFrame, path: Path) -> dict[str, int]:
    """Row number by file name: a submission has bare names, predictions.csv has paths."""
    key = next((column for column in KEYS if column in table.columns), None)
    if key is None:
        raise DataError(f"{path} has none of the columns {', '.join(KEYS)}; it has {', '.join(table.columns)}")
    names = table[key].cast(pl.String).to_list()
    short = [PurePosixPath(name).name for name in names]
    if len(set(short)) < len(short):
        short = names  # mask1.jpg of every person: only the whole path tells them apart
    rows = {name: row for row, name in enumerate(short)}
    if len(rows) < len(names):
        twice = next(name for row, name in enumerate(short) if rows[name] != row)
        raise DataError(f"{path}: {twice} stands in two rows; each photo must have one")
    return rows


def _codes(table: pl.DataFrame, tasks: Sequence[Task], path: Path) -> NDArray[np.intp]:
    """(N, tasks) class indices; -1 where a cell is empty."""
    joint = next((column for column in ("ans", "class") if column in table.columns), None)
    if joint is not None:
        return np.array([_split(cell, tasks, path, row) for row, cell in enumerate(table[joint], 2)], dtype=np.intp)
    if not any(task.name in table.columns for task in tasks):
        raise DataError(
            f"{path} has neither a column 'ans' or 'class' nor one of {', '.join(t.name for t in tasks)}; "
            f"it has {', '.join(table.columns)}"
        )
    return np.stack([_task_codes(table, task, path) for task in tasks], axis=1)


def _split(cell: Any, tasks: Sequence[Task], path: Path, row: int) -> list[int]:
    if cell is None or cell == "":
        return [UNLABELLED] * len(tasks)
    classes = len(joint_names(tasks))
    if not str(cell).isdecimal() or int(cell) >= classes:
        raise DataError(f"{path}, row {row}: the joint class is {cell!r}, which is no number from 0 to {classes - 1}")
    return list(split_joint(tasks, int(cell)))


def _task_codes(table: pl.DataFrame, task: Task, path: Path) -> NDArray[np.intp]:
    if task.name not in table.columns:
        return np.full(len(table), UNLABELLED, dtype=np.intp)
    codes: list[int] = []
    for row, cell in enumerate(table[task.name], 2):
        try:
            codes.append(UNLABELLED if cell is None or cell == "" else _code(task, str(cell)))
        except ValueError as error:
            raise DataError(f"{path}, row {row}: {error}") from None
    return np.array(codes, dtype=np.intp)


def _code(task: Task, cell: str) -> int:
    if cell in task.classes:
        return task.classes.index(cell)
    if not task.edges and cell.isdecimal() and int(cell) < len(task.classes):
        return int(cell)
    return task.encode(cell)
