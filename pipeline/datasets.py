"""Find out what a data folder holds.

DATA (the competition's layout, a table, or a folder of photos) -> Dataset: photos to train on, photos to predict,
defects.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cache.errors import DataError, UsageError
from classify.tasks import Task
from pipeline.competition import is_competition, load_competition
from pipeline.files import junk_reason, photo_files, subfolders
from pipeline.photos import Dataset, Photo
from pipeline.tables import TABLE_SUFFIXES, load_table


def load_data(data: Path, tasks: Sequence[Task], columns: Mapping[str, str]) -> Dataset:
    """What `data` holds.

    Args:
        data: a folder, or a table file.
        tasks: whose labels are read.
        columns: table columns by what they hold ("path", "person" or a task's name); else a column of that name.

    Raises:
        UsageError: `data` is not there, or holds several tables.
        DataError: there are no photos, or a table can't be read.
    """
    if data.is_file():
        if data.suffix.lower() in TABLE_SUFFIXES:
            return load_table(data, tasks, columns)
        raise UsageError(f"{data} is neither a folder nor a table (.csv or .parquet)")
    if not data.is_dir():
        raise UsageError(f"there is no folder or table {data}")
    if is_competition(data):
        return load_competition(data, tasks, columns)
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
    skipped: Counter[str] = Counter()
    photos = [
        Photo(file, file.relative_to(data).as_posix(), file.relative_to(data).as_posix())
        for file in _walk(data, skipped)
    ]
    if not photos:
        told = "; ".join(f"{count} {reason}" for reason, count in skipped.items()) or "it is empty"
        raise DataError(
            f"{data} holds no photos ({told}).\nfaceline reads the competition's layout (train/images, eval/info.csv), "
            "a CSV or Parquet table with a path column, and a folder of .jpg, .jpeg, .png, .webp or .bmp files."
        )
    return Dataset(data, "folder", evaluation=tuple(photos), skipped=dict(skipped))


def _walk(folder: Path, skipped: Counter[str]) -> Iterator[Path]:
    # Links to folders are not followed: one can lead out of the data, or in a circle.
    yield from photo_files(folder, skipped)
    for below in subfolders(folder, skipped):
        yield from _walk(below, skipped)
