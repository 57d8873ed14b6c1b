"""The photos that the competition wants predictions for.

In: eval/info.csv (ImageID,ans) and eval/images. Out: the photos in the order of info.csv, and what is wrong with them.
"""

from pathlib import Path

from pipeline.intake.defects import ALLOW_LINKS, DefectLog
from pipeline.intake.folder_index import FolderIndex, printable_name
from pipeline.intake.photo import OUTSIDE, Photo
from pipeline.intake.photo_files import list_folder
from pipeline.intake.table_file import read_table, row_location


def eval_folder(data: Path) -> Path | None:
    """The folder with info.csv and images: DATA/eval, or DATA itself; None if there is none."""
    below = data / "eval"
    if (below / "info.csv").is_file() or ((below / "images").is_dir() and (data / "train" / "images").is_dir()):
        return below
    return data if (data / "info.csv").is_file() and (data / "images").is_dir() else None


def read_eval_list(log: DefectLog) -> tuple[list[Photo], list[str]]:
    """Read the photos that info.csv names, in its order and including missing files, and their image ids.

    Without an info.csv: all photos in the images folder, and no ids. Defects and ignored files go to `log`.
    """
    folder = eval_folder(log.data)
    if folder is None:
        return [], []
    images = folder / "images"
    prefix = "images" if folder == log.data else "eval/images"
    if images.is_dir() and log.refuses(images):
        return [], []
    if not (folder / "info.csv").is_file():
        names = {file: printable_name(file.name) for file in log.list_photos(images)}
        return [Photo(file, f"{prefix}/{name}", name) for file, name in names.items()], []
    on_disk: set[str] = set()
    if images.is_dir():
        listing = list_folder(images)
        log.skipped.update(listing.other_files)
        on_disk = {file.name for file in listing.photos}
    index = FolderIndex(log.data, follow_links=log.follow_links)
    photos: list[Photo] = []
    requested: set[str] = set()
    for image_id, where in _read_image_ids(folder / "info.csv", log).items():
        file = index.find(prefix, image_id)
        similar = [] if file.exists or file.outside else index.similar(prefix, image_id)
        if len(similar) == 1:  # in other capitals, or with an ending that the id lacks
            file = index.find(prefix, similar[0])
        requested.add(file.name)
        if file.outside:
            message = f"{image_id!r} leads outside the data folder; copy it, or {ALLOW_LINKS}"
            log.add_defect(OUTSIDE, where, message, fatal=True)
            continue
        if not file.exists:
            message = f"there is no file {images / image_id}; its prediction will be `unreadable`"
            log.add_defect("missing file", where, message)
        photos.append(Photo(images / file.name, f"{prefix}/{printable_name(file.name)}", image_id))
    if extra := len(on_disk - requested):
        log.skipped["photos in eval/images that info.csv does not ask for"] += extra
    return photos, [photo.person for photo in photos]


def _read_image_ids(info: Path, log: DefectLog) -> dict[str, str]:
    """Image id -> its row in info.csv, for the ids that can be file names."""
    table = read_table(info)
    if "ImageID" not in table.columns:
        message = f"there is no column 'ImageID'; there are {', '.join(table.columns)}"
        log.add_defect("table column", info, message, fatal=True)
        return {}
    rows: dict[str, str] = {}
    for index, name in enumerate(table["ImageID"].to_list()):
        where = row_location(info, index)
        if not name:
            if any(table.row(index)):
                log.add_defect(OUTSIDE, where, "the ImageID is empty; fill it in or remove the row", fatal=True)
        elif "/" in name or "\\" in name or "\0" in name or name in {".", ".."}:
            message = f"{name!r} leaves the data folder; it must be the name of a file in eval/images"
            log.add_defect(OUTSIDE, where, message, fatal=True)
        elif name in rows:
            message = f"{name} has a row already ({rows[name]}); each photo must have one"
            log.add_defect("duplicate row", where, message, fatal=True)
        else:
            rows[name] = where
    return rows
