"""The photos that the competition asks for.

eval/info.csv (ImageID,ans) + eval/images -> the photos in the order of info.csv, and what is wrong with them.
"""

from pathlib import Path

from pipeline.intake.defects import DefectLog
from pipeline.intake.folder_index import FolderIndex, spelled
from pipeline.intake.label_table import OUTSIDE, read_table, row_name
from pipeline.intake.photo import Photo
from pipeline.intake.photo_files import photo_files


def eval_folder(data: Path) -> Path | None:
    """The folder with info.csv and images: DATA/eval, or DATA itself; None when there is none."""
    below = data / "eval"
    if (below / "info.csv").is_file() or ((below / "images").is_dir() and (data / "train" / "images").is_dir()):
        return below
    return data if (data / "info.csv").is_file() and (data / "images").is_dir() else None


def read_eval_list(found: DefectLog) -> tuple[list[Photo], list[str]]:
    """The photos that info.csv asks for, in its order, also those whose file is missing; all when there is none."""
    folder = eval_folder(found.data)
    if folder is None:
        return [], []
    images = folder / "images"
    below = "images" if folder == found.data else "eval/images"
    if images.is_dir() and found.is_refused(images):
        return [], []
    if not (folder / "info.csv").is_file():
        return [Photo(f, f"{below}/{spelled(f.name)}", spelled(f.name)) for f in found.photos_in(images)], []
    here = list(photo_files(images, found.skipped)) if images.is_dir() else []
    listing = FolderIndex(found.data)
    photos: list[Photo] = []
    used: set[str] = set()
    for name, where in _asked(folder / "info.csv", found):
        at = listing.find(below, name)
        used.add(at.file)
        if at.outside:
            found.defect(OUTSIDE, where, f"{name!r} leads outside the data folder; copy it", fatal=True)
            continue
        if not at.there:
            message = f"there is no file {images / name}; its prediction will be `unreadable`"
            found.defect("missing file", where, message)
        photos.append(Photo(images / at.file, f"{below}/{spelled(at.file)}", name))
    extra = len({file.name for file in here} - used)
    if extra:
        found.skipped["photos in eval/images that info.csv does not ask for"] += extra
    return photos, [photo.person for photo in photos]


def _asked(info: Path, found: DefectLog) -> list[tuple[str, str]]:
    """The image ids of info.csv that name a file, each with its row."""
    table = read_table(info)
    if "ImageID" not in table.columns:
        message = f"there is no column 'ImageID'; there are {', '.join(table.columns)}"
        found.defect("table column", info, message, fatal=True)
        return []
    asked: dict[str, str] = {}
    for index, name in enumerate(table["ImageID"].to_list()):
        where = row_name(info, index)
        if not name:
            if any(table.row(index)):
                found.defect(OUTSIDE, where, "the ImageID is empty; fill it in or take the row out", fatal=True)
        elif "/" in name or "\\" in name or "\0" in name or name in {".", ".."}:
            message = f"{name!r} leaves the data folder; it must be the name of a file in eval/images"
            found.defect(OUTSIDE, where, message, fatal=True)
        elif name in asked:
            message = f"{name} has a row already ({asked[name]}); each photo must have one"
            found.defect("duplicate row", where, message, fatal=True)
        else:
            asked[name] = where
    return list(asked.items())
