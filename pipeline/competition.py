"""The "mask status" competition's layout.

    DATA/train/images/<id>_<gender>_<race>_<age>/<stem>.<ext>    seven stems a person
    DATA/train/train.csv                                         id,gender,race,age,path
    DATA/eval/info.csv                                           ImageID,ans
    DATA/eval/images/<ImageID>

A person is the folder: ids repeat and carry suffixes. The mask label is in the file's stem, gender and age are in the
folder's name; any other task is looked for in train.csv.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from classify.tasks import Task
from pipeline.files import find_file, photo_files, subfolders
from pipeline.photos import Dataset, Defect, Photo
from pipeline.tables import read_table

MASK_OF_STEM = {**{f"mask{i}": "wear" for i in range(1, 6)}, "incorrect_mask": "incorrect", "normal": "normal"}


def is_competition(data: Path) -> bool:
    """Whether `data` is laid out like the competition, or is its eval folder."""
    return (data / "train" / "images").is_dir() or _eval_folder(data) is not None


def load_competition(data: Path, tasks: Sequence[Task], columns: Mapping[str, str]) -> Dataset:
    """All photos, with labels from names; junk is counted, and everything odd is a defect."""
    skipped: Counter[str] = Counter()
    defects: list[Defect] = []
    images = data / "train" / "images"
    train: list[Photo] = []
    if images.is_dir():
        rows = _table_rows(data, tasks, columns, defects)
        for folder in subfolders(images, skipped):
            train += _person(folder, data, tasks, rows, skipped, defects)
    evaluation, asked = _evaluation(data, skipped, defects)
    defects.sort(key=lambda defect: not defect.fatal)
    return Dataset(data, "competition", tuple(train), tuple(evaluation), tuple(asked), dict(skipped), tuple(defects))


def _eval_folder(data: Path) -> Path | None:
    for folder in (data / "eval", data):
        if (folder / "info.csv").is_file() and (folder / "images").is_dir():
            return folder
    return None


def _person(
    folder: Path,
    data: Path,
    tasks: Sequence[Task],
    rows: Mapping[str, Mapping[str, str]] | None,
    skipped: Counter[str],
    defects: list[Defect],
) -> list[Photo]:
    """The photos of one person's folder."""
    files = [file for file in photo_files(folder, skipped) if _is_known(file, skipped)]
    row = (rows or {}).get(folder.name)
    if rows is not None and row is None:
        defects.append(Defect("photos without a row", str(folder), "train.csv has no row with this path"))
    missing = MASK_OF_STEM.keys() - {file.stem for file in files}
    if missing:
        lacking = ", ".join(sorted(missing))
        defects.append(Defect("missing file", str(folder), f"of the seven photos, {lacking} is not there"))
    labels = _folder_labels(folder, tasks, row, defects)
    photos: list[Photo] = []
    for file in files:
        of_photo = {**labels, "mask": MASK_OF_STEM[file.stem]}
        wanted = {task.name: of_photo[task.name] for task in tasks if task.name in of_photo}
        photos.append(Photo(file, file.relative_to(data).as_posix(), folder.name, wanted))
    return photos


def _is_known(file: Path, skipped: Counter[str]) -> bool:
    if file.stem in MASK_OF_STEM:
        return True
    skipped["photos whose name is none of the seven"] += 1
    return False


def _folder_labels(
    folder: Path, tasks: Sequence[Task], row: Mapping[str, str] | None, defects: list[Defect]
) -> dict[str, str]:
    parts = folder.name.split("_")
    if len(parts) != 4:
        message = "the folder's name must be id_gender_race_age, as in 000001_female_Asian_45; rename it"
        defects.append(Defect("folder name", str(folder), message, fatal=True))
        return {}
    told = {"gender": parts[1], "age": parts[3]}
    if row is not None:
        for what, of_name in told.items():
            if what in row and row[what] != of_name:
                message = f"{what} is {of_name} in the folder's name and {row[what]} in train.csv; the name counts"
                defects.append(Defect("row and folder disagree", str(folder), message))
    labels = {**{k: v for k, v in (row or {}).items() if v}, **told}
    for task in tasks:
        if task.name in labels:
            try:
                task.encode(labels[task.name])
            except ValueError as error:
                message = f"{error}. Rename the folder, or take the person out."
                defects.append(Defect("unknown label", str(folder), message, fatal=True))
    return labels


def _table_rows(
    data: Path, tasks: Sequence[Task], columns: Mapping[str, str], defects: list[Defect]
) -> dict[str, dict[str, str]] | None:
    """train.csv by folder name; None when there is no train.csv."""
    path = data / "train" / "train.csv"
    if not path.is_file():
        return None
    table = read_table(path)
    if "path" not in table.columns:
        defects.append(Defect("table column", str(path), f"there is no column 'path'; there are {table.columns}"))
        return None
    kept = {what: columns.get(what, what) for what in ("path", "gender", "age", *(task.name for task in tasks))}
    kept = {what: column for what, column in kept.items() if column in table.columns}
    rows: dict[str, dict[str, str]] = {}
    for index, cells in enumerate(table.select(list(kept.values())).iter_rows(), 2):
        row = {what: cell or "" for what, cell in zip(kept, cells, strict=True)}
        where = f"{path}, row {index}"
        if row["path"] in rows:
            defects.append(Defect("duplicate row", where, f"{row['path']} has a row already; this one is ignored"))
            continue
        rows[row["path"]] = row
        if "/" in row["path"] or "\\" in row["path"] or row["path"] in {"", ".", ".."}:
            message = f"{row['path']!r} leaves the data folder; it must be the name of a folder in train/images"
            defects.append(Defect("path outside the data folder", where, message, fatal=True))
        elif not (data / "train" / "images" / row["path"]).is_dir():
            message = f"there is no folder {row['path']} in train/images"
            defects.append(Defect("row without photos", where, message))
    return rows


def _evaluation(data: Path, skipped: Counter[str], defects: list[Defect]) -> tuple[list[Photo], list[str]]:
    """The photos that info.csv asks for, in its order, also those whose file is missing."""
    folder = _eval_folder(data)
    if folder is None:
        return [], []
    table = read_table(folder / "info.csv")
    if "ImageID" not in table.columns:
        message = f"there is no column 'ImageID'; there are {', '.join(table.columns)}"
        defects.append(Defect("table column", str(folder / "info.csv"), message, fatal=True))
        return [], []
    here = {file.name for file in photo_files(folder / "images", skipped)}
    photos: list[Photo] = []
    seen: set[str] = set()
    for index, name in enumerate(table["ImageID"].to_list(), 2):
        where = f"{folder / 'info.csv'}, row {index}"
        if not name or "/" in name or "\\" in name or name == "..":
            message = f"{name!r} leaves the data folder; it must be the name of a file in eval/images"
            defects.append(Defect("path outside the data folder", where, message, fatal=True))
            continue
        if name in seen:
            defects.append(Defect("duplicate row", where, f"{name} has a row already; each photo must have one", True))
            continue
        seen.add(name)
        path = folder / "images" / name if name in here else find_file(folder / "images", name)
        if name not in here and not path.is_file():
            message = f"there is no file {path}; its prediction will be `unreadable`"
            defects.append(Defect("missing file", where, message))
        photos.append(Photo(path, path.relative_to(data).as_posix(), name))
    extra = len(here - seen)
    if extra:
        skipped["photos in eval/images that info.csv does not ask for"] += extra
    return photos, [photo.person for photo in photos]
