"""What is in a data set, and what is wrong with it.

Dataset + the hash of every file (+ a way to read photos) -> counts per class and the list of defects.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from classify.tasks import UNLABELLED, Task, encode_labels, joint_class, joint_names
from pipeline.intake.folder_index import spelled
from pipeline.intake.label_table import same_label
from pipeline.intake.photo import Dataset, Defect, Photo

KINDS = {
    "missing file": "a photo that a table or the layout names is not there",
    "row without photos": "a row of train.csv whose folder is not there or is empty",
    "photos without a row": "a folder that train.csv does not name",
    "folder without photos": "a person's folder that holds none of the seven photos",
    "row and folder disagree": "train.csv and the folder's name tell different things",
    "folder name": "a person's folder that is not called id_gender_race_age",
    "table column": "a table lacks a column",
    "no person column": "a table does not say who is in its photos",
    "no person": "a row does not say who is in the photo",
    "duplicate row": "a photo has two rows",
    "unknown label": "a label that is no class of its task, no number, or a number out of its range",
    "path outside the data folder": "a path or link that leaves the data folder, or is empty, is never opened",
    "identical photos": "two files of one part or person with the same bytes",
    "identical photos of two people": "the same bytes under two people, who are joined into one group when splitting",
    "identical photos in train and eval": "the same bytes to train on and to predict",
    "identical photos, different labels": "the same bytes with two labels; one is wrong",
    "unreadable file": "a photo that can't be decoded; it gets no crop",
}


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The outcome of a check.

    Attributes:
        dataset: with all defects, the fatal ones first.
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
        """What `check --json` prints; bytes of file names that are no UTF-8 are written out."""
        data = self.dataset

        def counted(classes: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
            return {name: {"photos": photos, "people": people} for name, (photos, people) in classes.items()}

        return {
            "data": spelled(str(data.root)),
            "kind": data.kind,
            "train": {"photos": len(data.train), "people": len({photo.person for photo in data.train})},
            "eval": {"photos": len(data.evaluation)},
            "tasks": {task: counted(classes) for task, classes in self.classes.items()},
            "joint": counted(self.joint),
            "skipped": {spelled(reason): count for reason, count in data.skipped.items()},
            "fatal": sum(defect.fatal for defect in data.defects),
            "defects": [
                {"kind": one.kind, "where": spelled(one.where), "message": spelled(one.message), "fatal": one.fatal}
                for one in data.defects
            ],
        }

    def tables(self) -> list[tuple[str, list[str], list[list[object]]]]:
        """Title, columns and rows of the tables to show."""
        data = self.dataset
        people = len({photo.person for photo in data.train})
        parts: list[list[object]] = []
        parts.append(["to train on", len(data.train), people])
        parts.append(["to predict", len(data.evaluation), None])
        for reason, count in sorted(data.skipped.items()):
            parts.append([f"passed over: {reason}", count, None])
        tables = [(f"{data.root} ({data.kind})", ["", "photos", "people"], parts)]
        if data.train:
            rows: list[list[object]] = [
                [f"{task} {name}", *counts]
                for task, classes in self.classes.items()
                for name, counts in classes.items()
            ]
            tables.append(("Classes", ["class", "photos", "people"], rows))
            joint: list[list[object]] = [[name, *counts] for name, counts in self.joint.items()]
            tables.append(("Joint classes", ["class", "photos", "people"], joint))
        return tables


def check_data(
    dataset: Dataset,
    tasks: Sequence[Task],
    *,
    decode: Callable[[Path], str | None] | None,
    digests: Mapping[Path, str],
    threads: int = 2,
) -> CheckResult:
    """Count the classes and look for what can't be seen from names alone.

    Args:
        dataset: as it was loaded, with its own defects.
        tasks: whose classes are counted.
        decode: says why a photo can't be read, or None when it can; None leaves photos unread.
        digests: file -> sha256; files without one can't be read.
        threads: that decode.
    """
    defects = [*dataset.defects, *_identical(dataset, tasks, digests)]
    if decode is not None:
        defects += _unreadable(dataset, decode, threads)
    defects.sort(key=lambda defect: not defect.fatal)
    classes, joint = _counts(dataset.train, tasks)
    return CheckResult(replace(dataset, defects=tuple(defects)), classes, joint)


def _counts(
    photos: Sequence[Photo], tasks: Sequence[Task]
) -> tuple[dict[str, dict[str, tuple[int, int]]], dict[str, tuple[int, int]]]:
    number: Counter[tuple[str, str]] = Counter()
    people: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    names = joint_names(tasks)
    for photo in photos:
        try:
            codes = encode_labels(tasks, photo.labels)
        except ValueError:
            continue  # a fatal defect already
        keys = [(t.name, t.classes[c]) for t, c in zip(tasks, codes, strict=True) if c != UNLABELLED]
        if (joint := joint_class(tasks, codes)) != UNLABELLED:
            keys.append(("", names[joint]))
        for key in keys:
            number[key] += 1
            people[key].add(photo.person)

    def of(task: str, classes: Sequence[str]) -> dict[str, tuple[int, int]]:
        return {name: (number[task, name], len(people[task, name])) for name in classes}

    return {task.name: of(task.name, task.classes) for task in tasks}, of("", names)


def _identical(dataset: Dataset, tasks: Sequence[Task], digests: Mapping[Path, str]) -> Iterator[Defect]:
    """One defect for every file that has the bytes of an earlier one, or several when it has several faults."""
    first_to_train: dict[str, Photo] = {}
    first_to_predict: dict[str, Photo] = {}
    for photo in dataset.train:
        if (digest := digests.get(photo.path)) and (first := first_to_train.setdefault(digest, photo)) is not photo:
            yield from _twins(first, photo, tasks)
    for photo in dataset.evaluation:
        if not (digest := digests.get(photo.path)):
            continue
        if trained := first_to_train.get(digest):
            message = f"has the same bytes as {trained.name}, which is trained on; its prediction proves nothing"
            yield Defect("identical photos in train and eval", photo.name, message)
        if (first := first_to_predict.setdefault(digest, photo)) is not photo:
            yield Defect("identical photos", photo.name, f"has the same bytes as {first.name}")


def _twins(first: Photo, photo: Photo, tasks: Sequence[Task]) -> Iterator[Defect]:
    same = f"has the same bytes as {first.name}"
    two_people = first.person != photo.person
    differing = [
        f"{task.name} is {photo.labels[task.name]} here and {first.labels[task.name]} there"
        for task in tasks
        if task.name in photo.labels
        and task.name in first.labels
        and not same_label(task, photo.labels[task.name], first.labels[task.name])
    ]
    if two_people:
        message = f"{same}; {photo.person} and {first.person} are joined into one group when splitting"
        yield Defect("identical photos of two people", photo.name, message)
    if differing:
        message = f"{same}, but {', '.join(differing)}; one of them is wrong"
        yield Defect("identical photos, different labels", photo.name, message)
    if not two_people and not differing:
        yield Defect("identical photos", photo.name, f"{same}, of the same person")


def _unreadable(dataset: Dataset, decode: Callable[[Path], str | None], threads: int) -> list[Defect]:
    photos = {photo.path: photo for photo in (*dataset.train, *dataset.evaluation)}
    there = [photo for photo in photos.values() if _is_there(photo.path)]
    with ThreadPoolExecutor(threads) as pool:
        reasons = pool.map(lambda photo: decode(photo.path), there)
        return [
            Defect("unreadable file", photo.name, f"{reason}; it gets no crop")
            for photo, reason in zip(there, reasons, strict=True)
            if reason is not None
        ]


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long for the disk: a missing file, which was told
        return False
