"""Recognise the layout of a data set and load it.

In: DATA, which is the competition's layout, a table, or a folder of photos. Out: a `Dataset`: the photos to train on,
the photos to predict, and the defects.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cache.errors import DataError, UsageError
from classify.tasks import Task
from pipeline.intake.competition import is_competition, load_competition
from pipeline.intake.defects import DefectLog
from pipeline.intake.folder_index import printable_name
from pipeline.intake.label_table import load_table
from pipeline.intake.photo import Dataset, Photo
from pipeline.intake.photo_files import junk_reason, subfolders
from pipeline.intake.table_file import TABLE_SUFFIXES

LAYOUTS = (
    "faceline reads the competition's layout (train/images, eval/info.csv), a CSV or Parquet table with a path column, "
    "and a folder of .jpg, .jpeg, .png, .webp or .bmp files."
)


def load_data(data: Path, tasks: Sequence[Task], columns: Mapping[str, str]) -> Dataset:
    """Load the photos and labels of `data`.

    Args:
        data: a folder, or a table file.
        tasks: the tasks whose labels are read.
        columns: a table's column by what it holds ("path", "person" or a task's name); by default, the same name.

    Raises:
        UsageError: `data` does not exist, is of no known layout, or holds several tables.
        DataError: there are no photos, or a folder or table can't be read.
    """
    try:
        dataset = _load(data, tasks, columns)
    except OSError as error:
        raise DataError(f"{error.filename or data} can't be read: {error.strerror or error}") from error
    if not (dataset.train or dataset.evaluation or any(defect.fatal for defect in dataset.defects)):
        content = "; ".join(f"{count} {reason}" for reason, count in dataset.skipped.items()) or "it is empty"
        raise DataError(f"{data} holds no photos ({content}).\n{LAYOUTS}")
    return dataset


def _load(data: Path, tasks: Sequence[Task], columns: Mapping[str, str]) -> Dataset:
    if data.is_file():
        if data.suffix.lower() in TABLE_SUFFIXES:
            return load_table(data, tasks, columns)
        raise UsageError(f"{data} is neither a folder nor a table (.csv or .parquet)")
    if not data.is_dir():
        raise UsageError(f"there is no folder or table {data}")
    if is_competition(data):
        return load_competition(data, tasks, columns)
    if (data / "train.csv").is_file() and (data / "images").is_dir():
        raise UsageError(f"{data} is the train part of a competition folder; name the folder that it is in")
    candidates = (file for file in sorted(data.iterdir()) if file.suffix.lower() in TABLE_SUFFIXES)
    tables = [file for file in candidates if file.is_file() and junk_reason(file.name) is None]
    if len(tables) > 1:
        names = ", ".join(table.name for table in tables)
        raise UsageError(f"{data} holds several tables ({names}); name the one that lists the photos")
    return load_table(tables[0], tasks, columns) if tables else _load_folder(data)


def _load_folder(data: Path) -> Dataset:
    """Load all photos at any depth: those in a subfolder are of one person, each at the top is of a separate one."""
    log = DefectLog(data, os.path.realpath(data), ())
    photos: list[Photo] = []
    for file in _walk(data, log):
        name = printable_name(os.path.relpath(file, data).replace(os.sep, "/"))
        photos.append(Photo(file, name, name.rpartition("/")[0] or name))
    return Dataset(data, "folder", evaluation=tuple(photos), skipped=dict(log.skipped), defects=tuple(log.defects))


def _walk(folder: Path, log: DefectLog) -> Iterator[Path]:
    """Yield the photos below `folder`. Links to folders are not followed: one can lead out of it, or in a circle."""
    yield from log.list_photos(folder)
    for subfolder in subfolders(folder, log.skipped):
        yield from _walk(subfolder, log)
