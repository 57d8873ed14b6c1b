"""A folder of photos for each class, as torchvision's ImageFolder reads it: DATA/CLASS/photo, or DATA/PART/CLASS/photo.

In: a folder. Out: a Dataset with the labels of the task whose classes the folders are, or None if they are no classes;
then `describe_folders` says which classes they could be.

The parts are train, val (the held-out fold) and test (to predict), under any of their usual names. With a metadata.csv
or metadata.jsonl in each part, as Hugging Face's imagefolder has it, the labels come from there.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cache.errors import UsageError
from classify.tasks import Task, comparable
from pipeline.intake.defects import DefectLog
from pipeline.intake.folder_index import printable_name
from pipeline.intake.given_split import Part, part_of, shared_people, split_note, split_photos
from pipeline.intake.label_table import load_table
from pipeline.intake.own_files import own_folder
from pipeline.intake.photo import Dataset, Defect, Photo
from pipeline.intake.photo_files import list_folder
from pipeline.settings import DataConfig

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
MOST_CLASSES = 50  # with more folders, they are most likely people


def load_class_folders(data: Path, tasks: Sequence[Task], config: DataConfig) -> Dataset | None:
    """Load a folder per class, if the folders are named after the classes of one task, or else return None.

    Raises:
        UsageError: the folders are classes of several tasks.
    """
    log = DefectLog(data, os.path.realpath(data), tasks, config.follow_links)
    parts = _parts(data)
    is_divided = parts[0][0] != data
    classes = _class_names(parts)
    task = _task_of(data, classes, tasks)
    if task is None:
        return None
    divided: list[tuple[Photo, Part]] = []
    for folder, part in parts:
        divided.extend((photo, part) for photo in _photos_of_part(folder, part, task, log))
    photos = tuple(photo for photo, _ in divided)
    train, evaluation = split_photos(divided) if is_divided else (photos, ())
    notes = [f"the folders {', '.join(classes)} are classes of {task.name}, the only task with labels"]
    if is_divided:
        notes.append(split_note("the split in folders", [part for _, part in divided]))
        log.defects += shared_people(divided, str(data))
        _count_others(data, parts, log)
    if any(photo.person == photo.name for photo in photos):
        message = (
            "each photo counts as a separate person, since nothing names the people; photos of one person can be on "
            "both sides of a split, and scores come out too good. Put the photos of each person into a folder of their "
            "own below the class"
        )
        log.add_defect("no person column", data, message)
    defects = sorted(log.defects, key=lambda defect: not defect.fatal)
    return Dataset(
        data, "classes", train, evaluation, skipped=dict(log.skipped), defects=tuple(defects), notes=tuple(notes)
    )


def load_metadata(data: Path, tasks: Sequence[Task], config: DataConfig) -> Dataset | None:
    """Load the parts of an imagefolder that have a metadata file each, or return None if there are none."""
    parts = _parts(data)
    tables = {folder: _metadata(folder) for folder, _ in parts if folder != data}
    if not any(tables.values()):
        return None
    log = DefectLog(data, os.path.realpath(data), tasks, config.follow_links)
    _count_others(data, parts, log)
    divided: list[tuple[Photo, Part]] = []
    defects: list[Defect] = []
    notes: dict[str, None] = {}
    for folder, part in parts:
        table = tables[folder]
        if table is None:
            log.skipped[f"folders without metadata ({folder.name})"] += 1
            continue
        dataset = load_table(table, tasks, config)
        log.skipped.update(dataset.skipped)
        defects += dataset.defects
        notes |= dict.fromkeys(dataset.notes)
        for photo in (*dataset.train, *dataset.evaluation):
            name = f"{printable_name(folder.name)}/{photo.name}"
            person = name if photo.person == photo.name else photo.person
            divided.append((replace(photo, name=name, person=person, held_out=None), part))
    train, evaluation = split_photos(divided)
    notes |= {split_note("the split in folders", [part for _, part in divided]): None}
    defects += shared_people(divided, str(data))
    defects.sort(key=lambda defect: not defect.fatal)
    if not tasks:
        train, evaluation = (), tuple(photo for photo, _ in divided)
    return Dataset(
        data, "table", train, evaluation, skipped=dict(log.skipped), defects=tuple(defects), notes=tuple(notes)
    )


def describe_folders(data: Path, tasks: Sequence[Task]) -> list[str]:
    """A sentence on the classes that the folders in `data` could be, which are those of no task."""
    folders = _class_folders(_parts(data))
    classes = [folder.name for folder in folders if len(folders) <= MOST_CLASSES and not own_folder(folder)]
    if len(classes) < 2:
        return []
    listed = ", ".join(classes)
    quoted = ", ".join(f'"{name}"' for name in classes)
    names = {comparable(name).casefold() for name in classes}
    similar = [task.name for task in tasks if names == {comparable(name).casefold() for name in task.classes}]
    setting = f"tasks.{similar[0]}.classes=[{quoted}]" if similar else f"tasks.NAME={{classes: [{quoted}]}}"
    return [f"the folders {listed} are classes of no task; if they should be, define it with --set '{setting}'"]


def _parts(data: Path) -> list[tuple[Path, Part]]:
    """The folders that hold class folders, with their part of the split: DATA itself if none of them is train."""
    parts: list[tuple[Path, Part]] = []
    for folder in list_folder(data).folders:
        if part := part_of(folder.name):
            parts.append((folder, part))
    return parts if any(part == "train" for _, part in parts) else [(data, "train")]


def _class_folders(parts: Sequence[tuple[Path, Part]]) -> list[Path]:
    """The folders in the parts, one of each name, without those of the test part, which may have other folders."""
    folders = [folder for parent, part in parts if part != "test" for folder in _candidates(parent)]
    return [*{folder.name: folder for folder in folders}.values()]


def _candidates(parent: Path) -> list[Path]:
    listing = list_folder(parent)
    return sorted([*listing.folders, *listing.linked_folders])


def _class_names(parts: Sequence[tuple[Path, Part]]) -> list[str]:
    return sorted(folder.name for folder in _class_folders(parts))


def _count_others(data: Path, parts: Sequence[tuple[Path, Part]], log: DefectLog) -> None:
    """Count what lies beside the folders of the parts."""
    if beside := len(log.list_photos(data)):
        log.skipped["photos in no part of the split"] += beside
    for folder in log.subfolders(data):
        if folder not in dict(parts):
            log.skipped[f"folders that are no part of the split ({folder.name})"] += 1


def _metadata(folder: Path) -> Path | None:
    """The metadata file of an imagefolder's part."""
    return next((folder / name for name in METADATA if (folder / name).is_file()), None)


def _task_of(data: Path, classes: Sequence[str], tasks: Sequence[Task]) -> Task | None:
    """The only task of which at least two of the folders are classes."""
    found = [task for task in tasks if not task.edges and sum(_is_class(task, name) for name in classes) > 1]
    if len(found) > 1:
        names = " and ".join(task.name for task in found)
        raise UsageError(
            f"the folders in {data} ({', '.join(classes)}) are classes of {names}; leave the other tasks out, with "
            f"--set tasks.{found[1].name}=null"
        )
    return found[0] if found else None


def _is_class(task: Task, name: str) -> bool:
    """Whether a folder is named after a class; a number is no class index here, since people are numbered, too."""
    return comparable(name) in {comparable(class_name) for class_name in task.classes}


def _photos_of_part(parent: Path, part: Part, task: Task, log: DefectLog) -> Iterator[Photo]:
    """Yield the photos of the class folders in `parent`; those of the test part may also lie there without a class."""
    for file in log.list_photos(parent):
        if part == "test":
            yield _photo(file, log.data, {}, None)
        else:
            log.skipped["photos in no folder of a class"] += 1
    for folder in log.subfolders(parent):
        if part != "test" and not _is_class(task, folder.name):
            message = f"is no class of {task.name}: rename the folder, add the class, or move it out of the data folder"
            log.add_defect("unknown label", folder, message, fatal=True)
        index = task.class_index(folder.name)
        labels = {task.name: task.classes[index]} if index is not None and _is_class(task, folder.name) else {}
        for file in log.walk(folder):
            yield _photo(file, log.data, labels, folder)


def _photo(file: Path, data: Path, labels: dict[str, str], class_folder: Path | None) -> Photo:
    """The photo; the person is the folder in which it lies within its class, or else the photo itself."""
    name = printable_name(os.path.relpath(file, data).replace(os.sep, "/"))
    person = name
    if class_folder is not None and file.parent != class_folder:
        person = printable_name(os.path.relpath(file.parent, class_folder).replace(os.sep, "/"))
    return Photo(file, name, person, labels)
