"""Find out what a data folder holds.

DATA (the competition's layout, a table, or a folder of photos) -> Dataset: photos to train on, photos to predict,
defects.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cache.errors import DataError, UsageError
from classify.tasks import Task
from pipeline.intake.competition import is_competition, load_competition
from pipeline.intake.folder_index import is_within, spelled
from pipeline.intake.label_table import OUTSIDE, TABLE_SUFFIXES, load_table
from pipeline.intake.photo import Dataset, Defect, Photo
from pipeline.intake.photo_files import junk_reason, photo_files, subfolders

LAYOUTS = (
    "faceline reads the competition's layout (train/images, eval/info.csv), a CSV or Parquet table with a path column, "
    "and a folder of .jpg, .jpeg, .png, .webp or .bmp files."
)


def load_data(data: Path, tasks: Sequence[Task], columns: Mapping[str, str]) -> Dataset:
    """What `data` holds.

    Args:
        data: a folder, or a table file.
        tasks: whose labels are read.
        columns: table columns by what they hold ("path", "person" or a task's name); else a column of that name.

    Raises:
        UsageError: `data` is not there, or holds several tables.
        DataError: there are no photos, or a folder or table can't be read.
    """
    try:
        dataset = _load(data, tasks, columns)
    except OSError as error:
        raise DataError(f"{error.filename or data} can't be read: {error.strerror or error}") from error
    if not (dataset.train or dataset.evaluation or any(defect.fatal for defect in dataset.defects)):
        told = "; ".join(f"{count} {reason}" for reason, count in dataset.skipped.items()) or "it is empty"
        raise DataError(f"{data} holds no photos ({told}).\n{LAYOUTS}")
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
    tables = [
        file
        for file in sorted(data.iterdir())
        if file.suffix.lower() in TABLE_SUFFIXES and file.is_file() and junk_reason(file.name) is None
    ]
    if len(tables) > 1:
        names = ", ".join(table.name for table in tables)
        raise UsageError(f"{data} holds several tables ({names}); name the one that lists the photos")
    return load_table(tables[0], tasks, columns) if tables else _load_folder(data)


def _load_folder(data: Path) -> Dataset:
    """All photos at any depth; those of one folder count as one person's, those at the top as one person's each."""
    skipped: Counter[str] = Counter()
    defects: list[Defect] = []
    root, real = str(data), os.path.realpath(data)
    photos: list[Photo] = []
    for file in _walk(data, skipped):
        if file.is_symlink() and not is_within(file, real):
            message = "is a link to outside the data folder; copy the photo into it"
            defects.append(Defect(OUTSIDE, str(file), message, fatal=True))
            continue
        name = spelled(os.path.relpath(file, root).replace(os.sep, "/"))
        photos.append(Photo(file, name, name.rpartition("/")[0] or name))
    return Dataset(data, "folder", evaluation=tuple(photos), skipped=dict(skipped), defects=tuple(defects))


def _walk(folder: Path, skipped: Counter[str]) -> Iterator[Path]:
    # Links to folders are not followed: one can lead out of the data, or in a circle.
    yield from photo_files(folder, skipped)
    for below in subfolders(folder, skipped):
        yield from _walk(below, skipped)
