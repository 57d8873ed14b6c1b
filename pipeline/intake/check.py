"""Count the classes of a data set and find what is wrong with it.

In: a Dataset, the hash of each file and, optionally, a function that reads photos. Out: a `CheckResult`.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cache.sources import split_part
from classify.tasks import UNLABELLED, Task, encode_labels, joint_class, joint_names
from pipeline.intake.folder_index import printable_name
from pipeline.intake.label_table import same_label
from pipeline.intake.person_labels import find_contradictions
from pipeline.intake.photo import Dataset, Defect, Photo

Decode = Callable[[Path], str | None]  # returns why a photo can't be read, or None if it can
DEFECT_KINDS = {
    "missing file": "a photo that a table or the layout names does not exist",
    "paths without a file": "most paths of a table lead to no photo, so the table is read in a wrong way",
    "no box": "a row of a table with a row for each face has no box, or an empty one",
    "row without photos": "a row of train.csv whose folder does not exist or is empty",
    "photos without a row": "a folder that train.csv does not name",
    "folder without photos": "a person's folder that holds none of the seven photos",
    "row and folder disagree": "train.csv and the folder's name contradict each other",
    "folder name": "a person's folder that is not called id_gender_race_age",
    "table column": "a table lacks a column",
    "no person column": "a table has no column that names the person in a photo",
    "no person": "a row does not name the person in the photo",
    "duplicate row": "a photo has two rows",
    "unknown split": "a cell of the split that is none of train, val and test",
    "person on both sides": "people whose photos are in two parts of a split that the data set makes itself",
    "unknown label": "a label that is no class of its task, no number, or a number out of its range",
    "path outside the data folder": "a path or link that leaves the data folder, or is empty, is never opened",
    "labels of one person differ": "photos of one person with two genders, ages far apart, or the like",
    "identical photos": "two files with the same bytes, of one person or both to predict",
    "identical photos of two people": "the same bytes under two people, who are kept on one side of every split",
    "identical photos in train and eval": "the same bytes to train on and to predict",
    "identical photos, different labels": "the same bytes with different labels, one of which is wrong",
    "unreadable file": "a photo that can't be decoded; it gets no crop",
}


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check.

    Attributes:
        dataset: the data set with all defects, the fatal ones first.
        classes: task -> class -> (photos, people).
        joint: joint class -> (photos, people).
    """

    dataset: Dataset
    classes: Mapping[str, Mapping[str, tuple[int, int]]]
    joint: Mapping[str, tuple[int, int]]

    @property
    def defects(self) -> tuple[Defect, ...]:
        """All defects, the fatal ones first."""
        return self.dataset.defects

    def as_json(self) -> dict[str, Any]:
        """What `check --json` prints; bytes of file names that are not UTF-8 are written as escapes."""
        data = self.dataset

        def counts_json(counts: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
            return {name: {"photos": photos, "people": people} for name, (photos, people) in counts.items()}

        def defect_json(defect: Defect) -> dict[str, Any]:
            where, message = printable_name(defect.where), printable_name(defect.message)
            return {"kind": defect.kind, "where": where, "message": message, "fatal": defect.fatal}

        return {
            "data": printable_name(str(data.root)),
            "kind": data.layout,
            "train": {"photos": len(data.train), "people": len({photo.person for photo in data.train})},
            "eval": {"photos": len(data.evaluation)},
            "tasks": {task: counts_json(classes) for task, classes in self.classes.items()},
            "joint": counts_json(self.joint),
            "skipped": {printable_name(reason): count for reason, count in data.skipped.items()},
            "notes": [printable_name(note) for note in data.notes],
            "fatal": sum(defect.fatal for defect in data.defects),
            "defects": [defect_json(defect) for defect in data.defects],
        }

    def tables(self) -> list[tuple[str, list[str], list[list[object]]]]:
        """Title, column names and rows of each table that `check` prints."""
        data = self.dataset
        parts: list[list[object]] = [
            ["to train on", len(data.train), len({photo.person for photo in data.train})],
            ["to predict", len(data.evaluation), None],
        ]
        parts.extend([f"passed over: {reason}", count, None] for reason, count in sorted(data.skipped.items()))
        tables = [(f"{data.root} ({data.layout})", ["", "photos", "people"], parts)]
        if data.train:
            rows: list[list[object]] = []
            for task, classes in self.classes.items():
                rows.extend([f"{task} {name}", *counts] for name, counts in classes.items())
            tables.append(("Classes", ["class", "photos", "people"], rows))
            joint: list[list[object]] = [[name, *counts] for name, counts in self.joint.items()]
            tables.append(("Joint classes", ["class", "photos", "people"], joint))
        return tables


def check_data(
    dataset: Dataset, tasks: Sequence[Task], *, decode: Decode | None, digests: Mapping[Path, str], threads: int = 2
) -> CheckResult:
    """Count the classes and find the defects that can't be seen from names alone.

    Args:
        dataset: as loaded, with the defects found then.
        tasks: the tasks whose classes are counted.
        decode: without this function, photos are not read.
        digests: file -> sha256; a file without one can't be read.
        threads: number of threads that decode photos.
    """
    defects = [*dataset.defects, *_find_identical(dataset, tasks, digests), *find_contradictions(dataset.train, tasks)]
    if decode is not None:
        defects += _find_unreadable(dataset, decode, threads)
    defects.sort(key=lambda defect: not defect.fatal)
    classes, joint = count_classes(dataset.train, tasks)
    return CheckResult(replace(dataset, defects=tuple(defects)), classes, joint)


def count_classes(
    photos: Iterable[Photo], tasks: Sequence[Task]
) -> tuple[dict[str, dict[str, tuple[int, int]]], dict[str, tuple[int, int]]]:
    """(photos, people) of each task's classes, and of the joint classes."""
    people: defaultdict[tuple[str, str], list[str]] = defaultdict(list)  # (task, class) -> the person in each photo
    names = joint_names(tasks)
    for photo in photos:
        try:
            codes = encode_labels(tasks, photo.labels)
        except ValueError:
            continue  # an unknown label, which is a fatal defect already
        keys = [(task.name, task.classes[c]) for task, c in zip(tasks, codes, strict=True) if c != UNLABELLED]
        joint = joint_class(tasks, codes)
        if joint != UNLABELLED:
            keys.append(("", names[joint]))
        for key in keys:
            people[key].append(photo.person)

    def counts_of(task: str, classes: Sequence[str]) -> dict[str, tuple[int, int]]:
        return {name: (len(people[task, name]), len(set(people[task, name]))) for name in classes}

    return {task.name: counts_of(task.name, task.classes) for task in tasks}, counts_of("", names)


def _find_identical(dataset: Dataset, tasks: Sequence[Task], digests: Mapping[Path, str]) -> Iterator[Defect]:
    """Yield one or several defects for each file that has the same bytes as an earlier one."""
    first_to_train: dict[str, Photo] = {}
    first_to_predict: dict[str, Photo] = {}
    for photo in dataset.train:
        digest = digests.get(photo.path)
        first = first_to_train.setdefault(digest, photo) if digest else photo
        if first is not photo:
            yield from _describe_copy(first, photo, tasks)
    for photo in dataset.evaluation:
        digest = digests.get(photo.path)
        if digest in first_to_train:
            name = first_to_train[digest].name
            message = f"has the same bytes as {name}, which is trained on; its prediction proves nothing"
            yield Defect("identical photos in train and eval", photo.name, message)
        first = first_to_predict.setdefault(digest, photo) if digest else photo
        if first is not photo:
            yield Defect("identical photos", photo.name, f"has the same bytes as {first.name}")


def _describe_copy(first: Photo, photo: Photo, tasks: Sequence[Task]) -> Iterator[Defect]:
    """Yield the defects of a photo to train on that has the same bytes as `first`."""
    same = f"has the same bytes as {first.name}"
    two_people = first.person != photo.person
    differing: list[str] = []
    for task in tasks:
        label, first_label = photo.labels.get(task.name), first.labels.get(task.name)
        if label is not None and first_label is not None and not same_label(task, label, first_label):
            differing.append(f"{task.name} is {label} here and {first_label} there")
    if two_people:
        message = f"{same}; {photo.person} and {first.person} are kept on one side of every split"
        yield Defect("identical photos of two people", photo.name, message)
    if differing:
        message = f"{same}, but {', '.join(differing)}; one of them is wrong"
        yield Defect("identical photos, different labels", photo.name, message)
    if not two_people and not differing:
        yield Defect("identical photos", photo.name, f"{same}, of the same person")


def _find_unreadable(dataset: Dataset, decode: Decode, threads: int) -> list[Defect]:
    """A defect for each existing file that `decode` can't read."""
    photos = {photo.path: photo for photo in (*dataset.train, *dataset.evaluation)}
    # Missing files are defects already. Unlike Path.is_file, this is False for a name that is too long for the disk.
    existing = [photo for photo in photos.values() if os.path.isfile(split_part(photo.path)[0])]  # noqa: PTH113
    with ThreadPoolExecutor(threads) as pool:
        reasons = pool.map(lambda photo: decode(photo.path), existing)
        return [
            Defect("unreadable file", photo.name, f"{reason}; it gets no crop")
            for photo, reason in zip(existing, reasons, strict=True)
            if reason is not None
        ]
