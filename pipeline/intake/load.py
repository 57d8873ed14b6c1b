"""Recognise the layout of a data set and load it.

In: DATA, which is the competition's layout, a table, a folder per class, or a folder of photos. Out: a `Dataset`: the
photos to train on, the photos to predict, and the defects.
"""

import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cache.errors import DataError, UsageError
from classify.tasks import Task
from pipeline.intake.class_folders import METADATA, describe_folders, load_class_folders, load_metadata
from pipeline.intake.competition import FOLDER_PARTS, is_competition, load_competition
from pipeline.intake.defects import DefectLog
from pipeline.intake.folder_index import printable_name
from pipeline.intake.label_table import load_table
from pipeline.intake.own_files import is_own_table, own_folder
from pipeline.intake.photo import Dataset, Photo
from pipeline.intake.photo_files import junk_reason, list_folder, skipped_text
from pipeline.intake.table_file import TABLE_SUFFIXES
from pipeline.settings import DataConfig

LAYOUTS = (
    "faceline reads the competition's layout (train/images, eval/info.csv), a CSV, Excel or Parquet table with a path "
    "column, a folder per class, and a folder of photos (.jpg, .png, .webp and others)."
)
NOT_DATA = frozenset({"crop cache", "run", "bundle"})
MOST_FOLDERS = 50  # that are searched for a data set


def load_data(data: Path, tasks: Sequence[Task], config: DataConfig) -> Dataset:
    """Load the photos and labels of `data`.

    Args:
        data: a folder, or a table file.
        tasks: the tasks whose labels are read; without tasks, all photos are to predict.
        config: the columns of tables, where their photos are, and which links are followed.

    Raises:
        UsageError: `data` does not exist, is of no known layout, or holds several tables.
        DataError: there are no photos, or a folder or table can't be read.
    """
    try:
        dataset = _load(data, tasks, config)
    except OSError as error:
        raise DataError(f"{error.filename or data} can't be read: {error.strerror or error}") from error
    if not (dataset.train or dataset.evaluation or any(defect.fatal for defect in dataset.defects)):
        content = skipped_text(dataset.skipped) or "it is empty"
        raise DataError(f"{data} holds no photos ({content}).\n{LAYOUTS}")
    unused = config.images is not None and dataset.layout != "table"
    notes = (f"{data} is no table, so data.images has no effect",) if unused else ()
    return replace(dataset, given=data, notes=(*dataset.notes, *notes))


def _load(data: Path, tasks: Sequence[Task], config: DataConfig) -> Dataset:
    if data.is_file():
        if data.suffix.lower() in TABLE_SUFFIXES:
            return load_table(data, tasks, config)
        raise UsageError(f"{data} is neither a folder nor a table ({', '.join(sorted(TABLE_SUFFIXES))})")
    if not data.is_dir():
        raise UsageError(f"there is no folder or table {data}")
    if (what := own_folder(data)) in NOT_DATA and not list_folder(data).photos:
        raise UsageError(f"{data} is a {what} of faceline's and holds no data set")
    if (dataset := _load_known_layout(data, tasks, config)) is not None:
        return dataset
    inner = _inner_folder(data)
    if inner != data and (dataset := _load_known_layout(inner, tasks, config)) is not None:
        note = f"{data} holds only the folder {os.path.relpath(inner, data)}, which is read instead"
        return replace(dataset, notes=(note, *dataset.notes))
    return _load_folder(data, tasks, config)


def _load_known_layout(data: Path, tasks: Sequence[Task], config: DataConfig) -> Dataset | None:
    """Load a folder in any layout but that of a plain folder of photos; None if it is in none of them."""
    if is_competition(data):
        return load_competition(data, tasks, config)
    if _is_train_part(data):
        raise UsageError(f"{data} is the train part of a competition folder; name the folder that it is in")
    outputs = [file for file in _tables(data) if is_own_table(file)]
    tables = [file for file in _tables(data) if file not in outputs]
    if len(tables) > 1:
        names = ", ".join(table.name for table in tables)
        raise UsageError(f"{data} holds several tables ({names}); name the one that lists the photos")
    if tables:
        dataset = load_table(tables[0], tasks, config)
        skipped = {**dataset.skipped, **{f"faceline's own files ({file.name})": 1 for file in outputs}}
        return replace(dataset, skipped=skipped)
    return load_metadata(data, tasks, config) or load_class_folders(data, tasks, config)


def _tables(folder: Path) -> list[Path]:
    """The tables directly in a folder, sorted by name. Lines of JSON are often something else than a table."""
    files = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in TABLE_SUFFIXES and file.is_file()]
    return [
        file for file in files if junk_reason(file.name) is None and (file.suffix != ".jsonl" or file.name in METADATA)
    ]


def _is_train_part(data: Path) -> bool:
    """Whether `data` is the competition's folder train, with its table and a folder of images per person."""
    images = data / "images"
    if not ((data / "train.csv").is_file() and images.is_dir()) or list_folder(images).photos:
        return False
    return all(folder.name.count("_") == len(FOLDER_PARTS) - 1 for folder in list_folder(images).folders)


def _inner_folder(data: Path) -> Path:
    """The folder that `data` leads to through folders which hold no photos, no tables and only one folder."""
    folder = data
    while not (is_competition(folder) or _tables(folder) or list_folder(folder).photos):
        folders = list_folder(folder).folders
        if len(folders) < MOST_FOLDERS:
            folders = [inner for inner in folders if not own_folder(inner)]
        if len(folders) != 1:
            break
        folder = folders[0]
    return folder


def _describe_inner(data: Path) -> list[str]:
    """Sentences on data sets in folders of a folder that holds none itself."""
    notes: list[str] = []
    for folder in itertools.islice(list_folder(data).folders, MOST_FOLDERS):
        if is_competition(folder):
            notes.append(f"{folder} has the competition's layout; name this folder to read its labels")
        elif not own_folder(folder):
            tables = [str(table) for table in _tables(folder) if not is_own_table(table)]
            notes += [f"{table} is a table; name it to read its labels" for table in tables]
    return notes


def _load_folder(data: Path, tasks: Sequence[Task], config: DataConfig) -> Dataset:
    """Load all photos at any depth: those in a subfolder are of one person, each at the top is of a separate one."""
    log = DefectLog(data, os.path.realpath(data), (), config.follow_links)
    photos: list[Photo] = []
    for file in log.walk(data, frozenset({log.real})):
        name = printable_name(os.path.relpath(file, data).replace(os.sep, "/"))
        photos.append(Photo(file, name, name.rpartition("/")[0] or name))
    notes = tuple([*_describe_inner(data), *describe_folders(data, tasks)] if tasks else ())
    defects = tuple(log.defects)
    return Dataset(data, "folder", evaluation=tuple(photos), skipped=dict(log.skipped), defects=defects, notes=notes)
