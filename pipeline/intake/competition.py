"""The layout of the "mask status" competition.

    DATA/train/images/<id>_<gender>_<race>_<age>/<stem>.<ext>    seven stems a person
    DATA/train/train.csv                                         id,gender,race,age,path
    DATA/eval/info.csv                                           ImageID,ans
    DATA/eval/images/<ImageID>

A person is a folder: ids repeat and carry suffixes. The mask label is in the file's stem, gender and age are in the
folder's name; labels of any other task come from train.csv. DATA may lack train or eval, or be the eval folder itself.
"""

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from classify.tasks import Task
from pipeline.intake.defects import DefectLog
from pipeline.intake.eval_list import eval_folder, read_eval_list
from pipeline.intake.folder_index import nfc, printable_name
from pipeline.intake.photo import OUTSIDE, Dataset, Photo
from pipeline.intake.table_file import missing_columns, read_table, row_location
from pipeline.settings import DataConfig

MASK_OF_STEM = {**{f"mask{i}": "wear" for i in range(1, 6)}, "incorrect_mask": "incorrect", "normal": "normal"}
FOLDER_PARTS = ("id", "gender", "race", "age")
FROM_FOLDER = ("gender", "age")


def is_competition(data: Path) -> bool:
    """Whether `data` is laid out like the competition, or is its eval folder."""
    return (data / "train" / "images").is_dir() or eval_folder(data) is not None


def load_competition(data: Path, tasks: Sequence[Task], config: DataConfig) -> Dataset:
    """Load all photos; the arguments are as in `load_data`, and the columns are those of train.csv.

    Raises:
        DataError: train.csv or info.csv can't be read, or train.csv lacks a column that `columns` names.
    """
    log = DefectLog(data, os.path.realpath(data), tasks, config.follow_links)
    train = _load_train(log, config.columns) if (data / "train" / "images").is_dir() else []
    evaluation, image_ids = read_eval_list(log)
    defects = tuple(sorted([*log.defects, *log.unknown_labels.defects()], key=lambda defect: not defect.fatal))
    return Dataset(data, "competition", tuple(train), tuple(evaluation), tuple(image_ids), dict(log.skipped), defects)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of train.csv: its cells by what they hold, and its location for messages."""

    cells: Mapping[str, str]
    where: str


def _load_train(log: DefectLog, columns: Mapping[str, str]) -> list[Photo]:
    images = log.data / "train" / "images"
    if log.refuses(images):
        return []
    rows = _read_train_table(log, columns)
    mask_tasks = [task for task in log.tasks if task.name == "mask"]
    # The task `mask`, if there is one, must have the classes that the file names stand for.
    for task, label in itertools.product(mask_tasks, dict.fromkeys(MASK_OF_STEM.values())):
        _check_label(task, label, images, "Give the task these classes", log)
    photos: list[Photo] = []
    with_photos: set[str] = set()
    for folder in log.subfolders(images, refuse_links=True):
        if person_photos := _load_person(folder, rows, log):
            photos += person_photos
            with_photos.add(nfc(folder.name))
    for key, row in (rows or {}).items():
        if key not in with_photos:
            log.add_defect("row without photos", row.where, f"there are no photos in train/images/{row.cells['path']}")
    return photos


def _load_person(folder: Path, rows: Mapping[str, _Row] | None, log: DefectLog) -> list[Photo]:
    """The photos in one person's folder; `rows` is None if there is no usable train.csv."""
    files = log.list_photos(folder)
    known = [file for file in files if file.stem.lower() in MASK_OF_STEM]
    if len(known) < len(files):
        log.skipped["photos whose name is none of the seven"] += len(files) - len(known)
    row = (rows or {}).get(nfc(folder.name))
    labels = _folder_labels(folder, row, log)
    if not known:
        if row is None:
            log.add_defect("folder without photos", folder, "holds none of the seven photos")
        return []
    if rows is not None and row is None:
        log.add_defect("photos without a row", folder, "train.csv has no row with this path; only the names are used")
    missing = sorted(MASK_OF_STEM.keys() - {file.stem.lower() for file in known})
    if missing:
        log.add_defect("missing file", folder, f"of the seven photos, {', '.join(missing)} is not there")
    has_mask_task = any(task.name == "mask" for task in log.tasks)
    person = printable_name(folder.name)
    photos: list[Photo] = []
    for file in known:
        mask = {"mask": MASK_OF_STEM[file.stem.lower()]} if has_mask_task else {}
        photos.append(Photo(file, f"train/images/{person}/{printable_name(file.name)}", person, {**labels, **mask}))
    return photos


def _check_label(task: Task, label: str, where: object, remedy: str, log: DefectLog) -> str | float:
    """Return the label as it is kept; record it if it is no valid label of `task`, which is fatal."""
    try:
        return task.normalised(label)
    except ValueError:
        log.unknown_labels.add(task, label, str(where), f"{remedy}, or leave the task out.")
        return label


def _folder_labels(folder: Path, row: _Row | None, log: DefectLog) -> dict[str, str | float]:
    """The labels in the folder's name and in its row, for the tasks other than the mask."""
    parts = folder.name.split("_")
    from_name: dict[str, str] = {}
    if len(parts) == len(FOLDER_PARTS):
        from_name = dict(zip(FOLDER_PARTS, parts, strict=True))
        if row is not None:
            _compare_with_row(from_name, folder, row, log)
    else:
        message = "the folder's name must be id_gender_race_age, as in 000001_female_Asian_45; rename it"
        fatal = any(task.name in FROM_FOLDER for task in log.tasks)
        log.add_defect("folder name", folder, message, fatal=fatal)
    cells = row.cells if row else {}
    labels: dict[str, str | float] = {}
    for task in log.tasks:
        if task.name == "mask":
            continue
        if task.name in FROM_FOLDER:
            label, where = from_name.get(task.name), str(folder)
            remedy = "Rename the folder, remove the person"
        else:
            label, where = cells.get(task.name), row.where if row else ""
            remedy = "Correct it, leave the cell empty"
        if label is not None and not task.is_empty(label):
            labels[task.name] = _check_label(task, label, where, remedy, log)
    return labels


def _compare_with_row(from_name: Mapping[str, str], folder: Path, row: _Row, log: DefectLog) -> None:
    """Record where the folder's name and its row in train.csv disagree."""
    for part, name_value in from_name.items():
        row_value = row.cells.get(part) or name_value
        if row_value != name_value and not (part == "age" and _is_same_number(row_value, name_value)):
            message = f"{part} is {row_value}, and {name_value} in the name of the folder {folder.name}, which counts"
            log.add_defect("row and folder disagree", row.where, message)


def _is_same_number(first: str, second: str) -> bool:
    try:
        return float(first) == float(second)
    except ValueError:
        return False


def _read_train_table(log: DefectLog, columns: Mapping[str, str]) -> dict[str, _Row] | None:
    """The rows of train.csv by folder name; None if there is no train.csv, or no column that names the folders."""
    path = log.data / "train" / "train.csv"
    if not path.is_file():
        return None
    table = read_table(path)
    standard = ("path", *FOLDER_PARTS)
    kept: dict[str, str] = {}
    for what in dict.fromkeys((*standard, *(task.name for task in log.tasks if task.name != "mask"))):
        # The standard columns keep their names, unless train.csv has them under the name that `columns` gives.
        column = columns.get(what, what)
        if column in table.columns:
            kept[what] = column
        elif what in table.columns and what in standard:
            kept[what] = what
        elif column != what and what not in standard:
            raise missing_columns(table, path, [(what, column)])
    if "path" not in kept:
        message = f"there is no column 'path' with the names of the folders; there are {', '.join(table.columns)}"
        log.add_defect("table column", path, message)
        return None
    cells = table.select(pl.col(column).str.strip_chars().fill_null("").alias(what) for what, column in kept.items())
    return _rows_by_folder(cells, path, log)


def _rows_by_folder(cells: pl.DataFrame, path: Path, log: DefectLog) -> dict[str, _Row]:
    """The rows by the normalised name of their folder, without blank, duplicate and unsafe ones."""
    rows: dict[str, _Row] = {}
    for index, values in enumerate(cells.iter_rows()):
        if not any(values):
            continue  # a blank line
        row = _Row(dict(zip(cells.columns, values, strict=True)), row_location(path, index))
        name = row.cells["path"]
        first = rows.get(nfc(name))
        if "/" in name or "\\" in name or name in {"", ".", ".."}:
            message = f"{name!r} leaves the data folder; it must be the name of a folder in train/images"
            log.add_defect(OUTSIDE, row.where, message, fatal=True)
        elif first is None:
            rows[nfc(name)] = row
        elif first.cells == row.cells:
            log.add_defect("duplicate row", row.where, f"{name} has a row already, with the same cells; it is ignored")
        else:
            message = f"{name} has a row already, with other cells; keep one of the two ({first.where})"
            log.add_defect("duplicate row", row.where, message, fatal=True)
    return rows
