"""Which columns of a table hold the path, the person, the labels, a split, and the boxes of faces.

In: a table, and the names in the settings. Out: what is held -> the column's name, and sentences on columns whose use
is not obvious.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from cache.errors import DataError
from classify.tasks import Task, comparable
from pipeline.intake.face_rows import BOX_COLUMNS
from pipeline.intake.given_split import columns_like_a_split, part_of
from pipeline.intake.table_file import missing_columns

PATH_COLUMNS = ("path", "file_name")  # ours, and that of Hugging Face's imagefolder


def named_columns(table: pl.DataFrame, path: Path, tasks: Sequence[Task], columns: Mapping[str, str]) -> dict[str, str]:
    """What a column holds -> its name. A table has label columns for all tasks or, if it is to predict, for none."""
    named: dict[str, str] = {}
    lacking: list[tuple[str, str]] = []
    task_names = [task.name for task in tasks]
    for what in ("path", "person", "split", *task_names):
        column = comparable(columns.get(what, what))
        if what == "path" and what not in columns:
            column = next((name for name in PATH_COLUMNS if name in table.columns), column)
        if column in table.columns:
            named[what] = column
        elif column != what or what == "path":
            raise missing_columns(table, path, [(what, column)])
        elif what in task_names:
            lacking.append((what, column))
    if lacking and len(lacking) < len(tasks):
        raise missing_columns(table, path, lacking)
    return named


def find_boxes(table: pl.DataFrame, path: Path, named: dict[str, str], boxes: str) -> list[str]:
    """Add the columns of boxes to those that are read, where they are to be; a sentence on whether they are.

    Args:
        table: with all columns.
        path: the table's file.
        named: what is read -> its column.
        boxes: `data.boxes`; "auto" reads them if a photo has several rows.

    Raises:
        DataError: the boxes are to be read, and there are none.
    """
    listed = ", ".join(BOX_COLUMNS)
    if not set(BOX_COLUMNS) <= set(table.columns):
        if boxes == "given":
            raise DataError(
                f"{path} has no columns {listed} with the boxes of faces; it has {', '.join(table.columns)}"
            )
        return []
    if boxes == "ignored":
        return [f"the boxes in {listed} are not read"]
    if boxes == "auto" and has_single_rows(table, named["path"]):
        return [
            f"the boxes in {listed} are not read, as each photo has one row: faceline finds the face itself; "
            "data.boxes=given reads them"
        ]
    named.update({name: name for name in BOX_COLUMNS})
    return [f"each row is a face with its box ({listed}); it is looked for in the part of the photo around the box"]


def has_single_rows(table: pl.DataFrame, column: str) -> bool:
    """Whether each photo has one row; `column` holds the paths."""
    paths = table[column].drop_nulls().str.replace_all("\\", "/", literal=True)
    return paths.n_unique() == len(paths)


def find_split(table: pl.DataFrame, named: dict[str, str], labelled: Sequence[Task]) -> list[str]:
    """Sentences on columns that are, or look like, a split; a column `split` that is none is taken out of `named`."""
    notes: list[str] = []
    if "split" in named and named["split"] == "split" and labelled:
        words = [word for word in table["split"].drop_nulls().unique().to_list() if word.strip()]
        if not any(part_of(word) for word in words):
            del named["split"]
            notes.append("the column 'split' names none of train, val and test, so it is no split")
    if labelled and "split" not in named:
        notes += [
            f"the column {column!r} looks like a split; it is not obeyed without --set data.columns.split={column}"
            for column in columns_like_a_split(table, named.values())
        ]
    return notes
