"""Read a table of answers: predictions.csv, submission.csv, or true labels.

In: a table, and the settings' tasks and column names. Out: Answers: the photos' names, class indices and people.

Labels may be the joint class (`ImageID,ans`) or a column per task with class names, class indices, or numbers that the
task's edges divide into classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache.errors import DataError
from classify.tasks import UNLABELLED, Task, comparable, joint_names, split_joint
from pipeline.intake.face_rows import BOX_COLUMNS, face_name, parse_box
from pipeline.intake.table_file import read_table, row_location

NAME_COLUMNS = ("ImageID", "path", "name", "file", "filename", "file_name")
JOINT_COLUMNS = ("ans", "class")
ROW = "\0row"  # no table has such a column

Codes = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Answers:
    """The rows of a table, without blank ones."""

    names: list[str]  # of the photos, as they are written
    codes: Codes  # (N, tasks) class indices, -1 where a cell is empty
    people: list[str] | None  # None where the table has no column for them
    absent: tuple[str, ...]  # tasks whose labels it does not have
    is_trained_on: NDArray[np.bool_] | None  # (N,) predicted by networks that were trained on the photo


def read_answers(path: Path, tasks: Sequence[Task], columns: Mapping[str, str]) -> Answers:
    """Read a table.

    Args:
        path: the file.
        tasks: what the answers are about.
        columns: a column by what it holds ("path", "person" or a task's name); where the table lacks it, and by
            default, the column has that very name. Photos may also be named by `ImageID`, `file` and the like.

    Raises:
        UsageError: the file is missing.
        DataError: it is no table, lacks its columns, or a cell is no answer; the message names the row.
    """
    table = read_table(path).with_row_index(ROW)
    cells = pl.exclude(ROW).fill_null("").str.strip_chars()
    table = table.filter(~pl.all_horizontal(cells == ""))  # spreadsheets leave blank rows behind
    names = _names(table, path, columns)
    codes, absent = _codes(table, tasks, path, columns)
    person = _column(table, "person", columns)
    people = None
    if person is not None:
        cells = table[person].fill_null("").to_list()
        # A photo without a person counts as another person's; no person's name begins with NUL.
        people = [comparable(cell) or f"\0{name}" for cell, name in zip(cells, names, strict=True)]
    is_trained_on = None
    if "trained_on" in table.columns:
        is_trained_on = (table["trained_on"].str.to_lowercase() == "true").fill_null(value=False).to_numpy()
    return Answers(names, codes, people, absent, is_trained_on)


def _column(table: pl.DataFrame, what: str, columns: Mapping[str, str]) -> str | None:
    """The name of the column that holds something: the settings', or else that very name; None if neither is there."""
    return next((name for name in (comparable(columns.get(what, what)), what) if name in table.columns), None)


def _names(table: pl.DataFrame, path: Path, columns: Mapping[str, str]) -> list[str]:
    """Return the photos' names."""
    candidates = [comparable(columns["path"])] if "path" in columns else []
    column = next((name for name in (*candidates, *NAME_COLUMNS) if name in table.columns), None)
    if column is None:
        there = ", ".join(table.columns[1:])
        raise DataError(
            f"{path} has none of the columns {', '.join((*candidates, *NAME_COLUMNS))}; it has {there}.\n"
            "Name the one with the photos' paths with --set data.columns.path=NAME."
        )
    names = table[column].fill_null("").to_list()
    for name, index in zip(names, table[ROW], strict=True):
        if not name.strip():
            raise DataError(f"{row_location(path, index)}: {column} is empty; name the photo or remove the row")
    if len(set(names)) < len(names) and set(BOX_COLUMNS) <= set(table.columns):
        return _face_names(names, table, path)
    return names


def _face_names(names: Sequence[str], table: pl.DataFrame, path: Path) -> list[str]:
    """The names of faces, as predictions have them, in a table with a row for each face of a photo."""
    named: list[str] = []
    for name, index, cells in zip(names, table[ROW], table.select(BOX_COLUMNS).iter_rows(named=True), strict=True):
        try:
            named.append(face_name(name, parse_box(cells)))
        except ValueError as error:
            raise DataError(f"{row_location(path, index)}: {error}") from None
    return named


def _codes(
    table: pl.DataFrame, tasks: Sequence[Task], path: Path, columns: Mapping[str, str]
) -> tuple[Codes, tuple[str, ...]]:
    """Return (N, tasks) class indices, and the tasks that have no column."""
    named = {task.name: _column(table, task.name, columns) for task in tasks}
    absent = tuple(name for name, column in named.items() if column is None)
    joint = next((column for column in JOINT_COLUMNS if column in table.columns), None)
    if absent and joint is not None:
        rows = [_split_cell(cell, tasks, row_location(path, row)) for row, cell in table.select(ROW, joint).iter_rows()]
        return np.array(rows, np.intp).reshape(-1, len(tasks)), ()
    if len(absent) == len(tasks):
        raise DataError(
            f"{path} has neither a column 'ans' or 'class' nor one of {', '.join(absent)}; it has "
            f"{', '.join(table.columns[1:])}.\nName the columns with --set data.columns.{absent[0]}=NAME."
        )
    codes = np.full((len(table), len(tasks)), UNLABELLED, dtype=np.intp)
    for index, task in enumerate(tasks):
        if (column := named[task.name]) is not None:
            codes[:, index] = _task_codes(table, task, column, path)
    return codes, absent


def _split_cell(cell: str | None, tasks: Sequence[Task], where: str) -> list[int]:
    """Return the class index of each task for a cell with a joint class."""
    if cell is None or all(task.is_empty(cell) for task in tasks):
        return [UNLABELLED] * len(tasks)
    classes = len(joint_names(tasks))
    text = comparable(cell)
    number = text.removesuffix(".0")  # as pandas writes whole numbers of a column with empty cells
    if not (number.isascii() and number.isdecimal()) or int(number) >= classes:
        raise DataError(f"{where}: the joint class is {cell!r}, not a number from 0 to {classes - 1}")
    return list(split_joint(tasks, int(number)))


def _task_codes(table: pl.DataFrame, task: Task, column: str, path: Path) -> list[int]:
    """Return the class index of each row."""
    cells: list[str | None] = [None if task.is_empty(cell) else cell for cell in table[column]]
    by_name = {cell: task.class_index(cell) for cell in set(cells) if cell is not None}
    # Where classes of a numeric label are called 0, 1, 2, a column of only these holds class names, not numbers.
    are_names = None not in by_name.values()
    codes: list[int] = []
    for row, cell in zip(table[ROW], cells, strict=True):
        if cell is None:
            codes.append(UNLABELLED)
            continue
        code = by_name[cell]
        try:
            codes.append(code if code is not None and (are_names or not _is_number(cell)) else task.encode(cell))
        except ValueError as error:
            raise DataError(f"{row_location(path, row)}: {error}") from None
    return codes


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
