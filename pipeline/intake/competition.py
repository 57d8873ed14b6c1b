"""The "mask status" competition's layout.

    DATA/train/images/<id>_<gender>_<race>_<age>/<stem>.<ext>    seven stems a person
    DATA/train/train.csv                                         id,gender,race,age,path
    DATA/eval/info.csv                                           ImageID,ans
    DATA/eval/images/<ImageID>

A person is the folder: ids repeat and carry suffixes. The mask label is in the file's stem, gender and age are in the
folder's name; any other task is looked for in train.csv. DATA may lack either half, or be the eval folder itself.
"""

import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from classify.tasks import Task
from pipeline.intake.defects import DefectLog
from pipeline.intake.eval_list import eval_folder, read_eval_list
from pipeline.intake.folder_index import spelled
from pipeline.intake.label_table import OUTSIDE, missing_column, read_table, row_name
from pipeline.intake.photo import Dataset, Photo
from pipeline.intake.photo_files import subfolders

MASK_OF_STEM = {**{f"mask{i}": "wear" for i in range(1, 6)}, "incorrect_mask": "incorrect", "normal": "normal"}
FOLDER_PARTS = ("id", "gender", "race", "age")
FROM_NAMES = ("mask", "gender", "age")


def is_competition(data: Path) -> bool:
    """Whether `data` is laid out like the competition, or is its eval folder."""
    return (data / "train" / "images").is_dir() or eval_folder(data) is not None


def load_competition(data: Path, tasks: Sequence[Task], columns: Mapping[str, str]) -> Dataset:
    """All photos, with labels from names; junk is counted, and everything odd is a defect.

    Raises:
        DataError: train.csv or info.csv can't be read, or train.csv lacks a column that `columns` names.
    """
    found = DefectLog(data, os.path.realpath(data), tasks)
    train: list[Photo] = []
    if (data / "train" / "images").is_dir():
        train = _train(found, columns)
    evaluation, asked = read_eval_list(found)
    found.defects.sort(key=lambda defect: not defect.fatal)
    return Dataset(
        data, "competition", tuple(train), tuple(evaluation), tuple(asked), dict(found.skipped), tuple(found.defects)
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of train.csv: its cells by what they hold, and where it stands."""

    cells: Mapping[str, str]
    where: str


def _train(found: DefectLog, columns: Mapping[str, str]) -> list[Photo]:
    images = found.data / "train" / "images"
    if found.is_refused(images):
        return []
    rows = _table_rows(found, columns)
    _check_stem_labels(found)
    photos: list[Photo] = []
    filled: set[str] = set()
    for folder in subfolders(images, found.skipped):
        if of_person := _person(folder, rows, found):
            photos += of_person
            filled.add(_key(folder.name))
    _refuse_linked_folders(images, found)
    for key, row in (rows or {}).items():
        if key not in filled:
            found.defect("row without photos", row.where, f"there are no photos in train/images/{row.cells['path']}")
    return photos


def _refuse_linked_folders(images: Path, found: DefectLog) -> None:
    # A linked folder is never entered: it can lead out of the data, or in a circle.
    with os.scandir(images) as entries:
        for link in sorted(entry.path for entry in entries if entry.is_symlink()):
            if Path(link).is_dir() and not found.is_refused(Path(link)):
                found.skipped["links to folders"] += 1


def _person(folder: Path, rows: Mapping[str, _Row] | None, found: DefectLog) -> list[Photo]:
    """The photos of one person's folder."""
    files = found.photos_in(folder)
    known = [file for file in files if file.stem.lower() in MASK_OF_STEM]
    if len(known) < len(files):
        found.skipped["photos whose name is none of the seven"] += len(files) - len(known)
    row = (rows or {}).get(_key(folder.name))
    labels = _folder_labels(folder, row, found)
    if not known:
        if row is None:
            found.defect("folder without photos", folder, "holds none of the seven photos")
        return []
    if rows is not None and row is None:
        found.defect("photos without a row", folder, "train.csv has no row with this path; the names alone count")
    if missing := sorted(MASK_OF_STEM.keys() - {file.stem.lower() for file in known}):
        found.defect("missing file", folder, f"of the seven photos, {', '.join(missing)} is not there")
    masks = "mask" in {task.name for task in found.tasks}
    below, person = f"train/images/{spelled(folder.name)}", spelled(folder.name)
    return [
        Photo(
            file,
            f"{below}/{spelled(file.name)}",
            person,
            {**labels, "mask": MASK_OF_STEM[file.stem.lower()]} if masks else labels,
        )
        for file in known
    ]


def _check_stem_labels(found: DefectLog) -> None:
    """A config may give the task `mask` classes of its own, which the file names know nothing of."""
    for task in found.tasks:
        if task.name == "mask":
            for label in dict.fromkeys(MASK_OF_STEM.values()):
                _check_label(task, label, found.data / "train" / "images", "Give the task these classes", found)


def _check_label(task: Task, label: str, where: object, remedy: str, found: DefectLog) -> None:
    try:
        task.encode(label)
    except ValueError as error:
        found.defect("unknown label", where, f"{error}. {remedy}, or leave the task out.", fatal=True)


def _folder_labels(folder: Path, row: _Row | None, found: DefectLog) -> dict[str, str | float]:
    """What the folder's name and its row tell of the tasks other than the mask."""
    cells = row.cells if row else {}
    parts = folder.name.split("_")
    told: dict[str, str] = {}
    wanted = {task.name for task in found.tasks}
    if len(parts) == len(FOLDER_PARTS):
        told = dict(zip(FOLDER_PARTS, parts, strict=True))
        if row is not None:
            _compare(told, folder, row, found)
    else:
        message = "the folder's name must be id_gender_race_age, as in 000001_female_Asian_45; rename it"
        found.defect("folder name", folder, message, fatal=bool(wanted & {"gender", "age"}))
    labels: dict[str, str | float] = {}
    for task in found.tasks:
        if task.name in FROM_NAMES:
            if label := told.get(task.name) if task.name != "mask" else None:
                labels[task.name] = label
                _check_label(task, label, folder, "Rename the folder, take the person out", found)
        elif row and (label := cells.get(task.name)):
            labels[task.name] = label
            _check_label(task, label, row.where, "Mend it, leave the cell empty", found)
    return labels


def _compare(told: Mapping[str, str], folder: Path, row: _Row, found: DefectLog) -> None:
    for what, of_name in told.items():
        of_row = row.cells.get(what) or of_name
        if of_row != of_name and not (what == "age" and _is_same_number(of_row, of_name)):
            message = f"{what} is {of_row}, and {of_name} in the name of the folder {folder.name}, which counts"
            found.defect("row and folder disagree", row.where, message)


def _is_same_number(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return False


def _key(folder: str) -> str:
    """A folder's name in one Unicode form: disks and tables made on different systems spell it differently."""
    return unicodedata.normalize("NFC", folder)


def _table_rows(found: DefectLog, columns: Mapping[str, str]) -> dict[str, _Row] | None:
    """train.csv by folder name; None when there is no train.csv, or no column to tell whose its rows are."""
    path = found.data / "train" / "train.csv"
    if not path.is_file():
        return None
    table = read_table(path)
    kept: dict[str, str] = {}
    for what in dict.fromkeys(("path", *FOLDER_PARTS, *(task.name for task in found.tasks if task.name != "mask"))):
        # The layout's own columns keep their names, unless train.csv has them under the name that `columns` gives.
        column = columns.get(what, what)
        if column in table.columns:
            kept[what] = column
        elif what in table.columns and what in {"path", *FOLDER_PARTS}:
            kept[what] = what
        elif column != what and what not in {"path", *FOLDER_PARTS}:
            raise missing_column(table, path, what, column)
    if "path" not in kept:
        message = f"there is no column 'path' to tell the folders; there are {', '.join(table.columns)}"
        found.defect("table column", path, message)
        return None
    cells = table.select(pl.col(column).str.strip_chars().fill_null("").alias(what) for what, column in kept.items())
    return _rows_by_folder(cells, path, found)


def _rows_by_folder(cells: pl.DataFrame, path: Path, found: DefectLog) -> dict[str, _Row]:
    rows: dict[str, _Row] = {}
    for index, values in enumerate(cells.iter_rows()):
        if not any(values):
            continue  # a blank line
        row = _Row(dict(zip(cells.columns, values, strict=True)), row_name(path, index))
        name = row.cells["path"]
        if "/" in name or "\\" in name or name in {"", ".", ".."}:
            message = f"{name!r} leaves the data folder; it must be the name of a folder in train/images"
            found.defect(OUTSIDE, row.where, message, fatal=True)
        elif (before := rows.get(_key(name))) is None:
            rows[_key(name)] = row
        elif before.cells == row.cells:
            found.defect("duplicate row", row.where, f"{name} has a row already, with the same cells; it is ignored")
        else:
            message = f"{name} has a row already, with other cells; keep one of the two ({before.where})"
            found.defect("duplicate row", row.where, message, fatal=True)
    return rows
