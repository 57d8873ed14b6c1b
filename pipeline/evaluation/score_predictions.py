"""Score predictions against labels.

In: predictions.csv or submission.csv, and a table of labels. Out: a Score per task and for the joint class.

Labels may be the joint class (`ImageID,ans`) or a column per task with class names, class indices, or numbers that the
task's edges divide into classes. Without a column `person`, each photo counts as another person's, and the intervals
are too narrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache.errors import DataError, UsageError
from classify.evaluation.metrics import Score, score_tasks
from classify.tasks import UNLABELLED, Task, joint_names, split_joint

KEYS = ("ImageID", "path", "name", "file")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The scores of some predictions."""

    scores: dict[str, Score]  # "joint" first, then each task that the table of labels covers
    classes: dict[str, list[str]]  # class names per score
    photos: int  # number of photos scored
    unanswered: int  # how many of them lack a prediction, which counts as wrong


def evaluate(predictions: Path, truth: Path, tasks: Sequence[Task]) -> Evaluation:
    """Score each photo that the table `truth` lists.

    Raises:
        DataError: a table lacks its columns or holds a photo twice, or no photo is in both tables.
        UsageError: a file is missing.
    """
    # Photos of both tables
    predicted_table, true_table = _read(predictions), _read(truth)
    predicted_rows, true_rows = _rows_by_photo(predicted_table, predictions), _rows_by_photo(true_table, truth)
    if not predicted_rows.keys() & true_rows.keys():
        raise DataError(f"{predictions} and {truth} have no photo in common; their names differ")

    # Class indices, (photos, tasks)
    true_codes = _codes(true_table, tasks, truth)
    codes = _codes(predicted_table, tasks, predictions)
    predicted_codes = np.full_like(true_codes, UNLABELLED)
    for photo, row in true_rows.items():
        if photo in predicted_rows:
            predicted_codes[row] = codes[predicted_rows[photo]]

    # Scores
    people = true_table["person"].cast(pl.String).to_list() if "person" in true_table.columns else list(true_rows)
    truths = {task.name: true_codes[:, index] for index, task in enumerate(tasks)}
    answers = {task.name: predicted_codes[:, index] for index, task in enumerate(tasks)}
    scores = score_tasks(tasks, truths, answers, people)
    classes = {"joint": joint_names(tasks)} | {task.name: list(task.classes) for task in tasks}
    unanswered = int((predicted_codes == UNLABELLED).any(axis=1).sum())
    return Evaluation(scores, {name: classes[name] for name in scores}, len(true_codes), unanswered)


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    try:
        return pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a readable table: {error}") from None


def _rows_by_photo(table: pl.DataFrame, path: Path) -> dict[str, int]:
    """Return row numbers by file name: a submission has bare names, predictions.csv has paths."""
    key = next((column for column in KEYS if column in table.columns), None)
    if key is None:
        raise DataError(f"{path} has none of the columns {', '.join(KEYS)}; it has {', '.join(table.columns)}")
    names = table[key].cast(pl.String).to_list()
    keys = [PurePosixPath(name).name for name in names]
    if len(set(keys)) < len(keys):
        keys = names  # all people have a mask1.jpg: only the full paths are distinct
    rows = {name: row for row, name in enumerate(keys)}
    if len(rows) < len(names):
        duplicate = next(name for row, name in enumerate(keys) if rows[name] != row)
        raise DataError(f"{path}: {duplicate} is in two rows; each photo must have one")
    return rows


def _codes(table: pl.DataFrame, tasks: Sequence[Task], path: Path) -> NDArray[np.intp]:
    """Return (N, tasks) class indices, -1 where a cell is empty."""
    joint = next((column for column in ("ans", "class") if column in table.columns), None)
    if joint is not None:
        cells = enumerate(table[joint], start=2)  # rows as a spreadsheet numbers them, below the header
        return np.array([_split_cell(cell, tasks, path, row) for row, cell in cells], np.intp).reshape(-1, len(tasks))
    if not any(task.name in table.columns for task in tasks):
        raise DataError(
            f"{path} has neither a column 'ans' or 'class' nor one of {', '.join(t.name for t in tasks)}; "
            f"it has {', '.join(table.columns)}"
        )
    return np.stack([_task_codes(table, task, path) for task in tasks], axis=1)


def _split_cell(cell: Any, tasks: Sequence[Task], path: Path, row: int) -> list[int]:
    """Return the class index of each task for a cell with a joint class."""
    if cell is None or cell == "":
        return [UNLABELLED] * len(tasks)
    classes = len(joint_names(tasks))
    if not str(cell).isdecimal() or int(cell) >= classes:
        raise DataError(f"{path}, row {row}: the joint class is {cell!r}, not a number from 0 to {classes - 1}")
    return list(split_joint(tasks, int(cell)))


def _task_codes(table: pl.DataFrame, task: Task, path: Path) -> NDArray[np.intp]:
    if task.name not in table.columns:
        return np.full(len(table), UNLABELLED, dtype=np.intp)
    codes: list[int] = []
    for row, cell in enumerate(table[task.name], start=2):
        try:
            codes.append(UNLABELLED if cell is None or cell == "" else _encode_cell(task, str(cell)))
        except ValueError as error:
            raise DataError(f"{path}, row {row}: {error}") from None
    return np.array(codes, dtype=np.intp)


def _encode_cell(task: Task, cell: str) -> int:
    """Return the class index for a class name, a class index, or a number that the task's edges divide."""
    if cell in task.classes:
        return task.classes.index(cell)
    if not task.edges and cell.isdecimal() and int(cell) < len(task.classes):
        return int(cell)
    return task.encode(cell)
