"""Tables of photos: a CSV or Parquet file with a path column, label columns and a person column.

table -> polars frame of strings -> Photo rows and the defects of each row.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import polars as pl

from cache.errors import DataError, UsageError
from classify.tasks import Task
from pipeline.files import find_file
from pipeline.photos import Dataset, Defect, Photo

TABLE_SUFFIXES = frozenset({".csv", ".parquet"})


def read_table(path: Path) -> pl.DataFrame:
    """A table with every column as text; a UTF-8 byte order mark is dropped.

    Raises:
        UsageError: there is no such file.
        DataError: it is not readable, or empty.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    try:
        is_parquet = path.suffix.lower() == ".parquet"
        table = pl.read_parquet(path) if is_parquet else pl.read_csv(path, infer_schema=False)
    except pl.exceptions.NoDataError:
        raise DataError(f"{path} is empty; it needs a line of column names and a line per photo") from None
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        reason = str(error).split("\n")[0]
        raise DataError(f"{path} is not a readable table ({reason}); save it as CSV in UTF-8, or as Parquet") from None
    return table.select(pl.all().cast(pl.String).str.strip_chars()).rename(lambda name: name.strip().lstrip("\ufeff"))


def load_table(path: Path, tasks: Sequence[Task], columns: Mapping[str, str]) -> Dataset:
    """The photos that a table lists, with their labels; paths are relative to the table's folder.

    Raises:
        DataError: a column that is needed is missing; the message names it and those that there are.
    """
    table = read_table(path)
    named = _named_columns(table, path, tasks, columns)
    defects: list[Defect] = []
    if "person" not in named:
        defects.append(
            Defect(
                "no person column",
                str(path),
                "each photo counts as another person, so photos of one person can be on both sides of a split, and "
                "scores come out too good; name the column with --set data.columns.person=NAME",
            )
        )
    photos: dict[str, Photo] = {}
    cells = {what: table[column].to_list() for what, column in named.items()}
    labelled = [task for task in tasks if task.name in named]
    for index, name in enumerate(cells["path"]):
        where = f"{path}, row {index + 2}"
        labels = {task.name: text for task in labelled if (text := cells[task.name][index])}
        problem = _path_problem(name) or _outside(path.parent, name)
        if problem:
            defects.append(Defect("path outside the data folder", where, problem, fatal=True))
            continue
        defects += _label_defects(labelled, labels, where)
        person = cells["person"][index] if "person" in cells else None
        photo = Photo(find_file(path.parent, name), PurePosixPath(name).as_posix(), person or name, labels)
        before = photos.setdefault(photo.name, photo)
        if before is not photo:
            defects.append(_duplicate_row(before, photo, where))
        elif not photo.path.is_file():
            defects.append(Defect("missing file", where, f"there is no file {photo.path}", fatal=False))
    # Photos whose file is missing stay in: they are left out of training, and their prediction says so.
    every = tuple(photos.values())
    if labelled:
        return Dataset(path.parent, "table", train=every, defects=tuple(defects))
    return Dataset(path.parent, "table", evaluation=every, defects=tuple(defects))


def _named_columns(
    table: pl.DataFrame, path: Path, tasks: Sequence[Task], columns: Mapping[str, str]
) -> dict[str, str]:
    """What -> the table's column; label columns may be missing only all together (a table to predict)."""
    named: dict[str, str] = {}
    for what in ("path", "person", *(task.name for task in tasks)):
        column = columns.get(what, what)
        if column in table.columns:
            named[what] = column
        elif what in columns or what == "path":
            raise _missing_column(table, path, what, column)
    have = [task.name for task in tasks if task.name in named]
    lacking = [task.name for task in tasks if task.name not in named]
    if have and lacking:
        raise _missing_column(table, path, lacking[0], lacking[0])
    return named


def _missing_column(table: pl.DataFrame, path: Path, what: str, column: str) -> DataError:
    leave_out = "" if what in {"path", "person"} else f", or leave the task out with --set tasks.{what}=null"
    return DataError(
        f"{path} has no column {column!r}; it has {', '.join(table.columns)}.\n"
        f"Name the right one with --set data.columns.{what}=NAME{leave_out}."
    )


def _path_problem(name: str | None) -> str | None:
    if not name:
        return "the path is empty"
    if "\0" in name or "\n" in name:
        return f"{name!r} is no path"
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or "://" in name or ".." in parts:
        return f"{name!r} leaves the data folder; move the photo into it, or the table beside the photos"
    return None


def _outside(folder: Path, name: str) -> str | None:
    file = folder / name
    if file.is_symlink() and not file.resolve().is_relative_to(folder.resolve()):
        return f"{name!r} is a link to a file outside the data folder; copy the photo into it"
    return None


def _label_defects(tasks: Sequence[Task], labels: Mapping[str, Any], where: str) -> list[Defect]:
    defects: list[Defect] = []
    for task in tasks:
        if task.name in labels:
            try:
                task.encode(labels[task.name])
            except ValueError as error:
                message = f"{error}. Mend it, or leave the cell empty to train {task.name} without this photo."
                defects.append(Defect("unknown label", where, message, fatal=True))
    return defects


def _duplicate_row(before: Photo, photo: Photo, where: str) -> Defect:
    if before.labels == photo.labels and before.person == photo.person:
        return Defect(
            "duplicate row", where, f"{photo.name} has a row already, with the same labels; this one is ignored"
        )
    message = f"{photo.name} has a row already, with other labels or another person; keep one of the two"
    return Defect("duplicate row", where, message, fatal=True)
