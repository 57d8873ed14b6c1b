"""What is in a data set, and what is wrong with it.

Dataset + the hash of every file (+ a way to read photos) -> counts per class and the list of defects.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from classify.tasks import UNLABELLED, Task, encode_labels, joint_class, joint_names
from pipeline.photos import Dataset, Defect, Photo

KINDS = {
    "missing file": "a photo that a table or the layout names is not there",
    "row without photos": "a row of train.csv whose folder is not there",
    "photos without a row": "a folder that train.csv does not name",
    "row and folder disagree": "train.csv and the folder's name tell different labels",
    "folder name": "a person's folder that is not called id_gender_race_age",
    "table column": "a table lacks a column",
    "no person column": "a table does not say who is in a photo",
    "duplicate row": "a photo has two rows",
    "unknown label": "a label that is no class of its task, or a number out of its range",
    "path outside the data folder": "a path that leaves the data folder is never opened",
    "identical photos": "two files of one person with the same bytes",
    "identical photos of two people": "the same bytes under two people; the two are kept in one fold",
    "identical photos in train and eval": "the same bytes to train on and to predict",
    "identical photos, different labels": "the same bytes with two labels; one is wrong",
    "unreadable file": "a photo that can't be decoded; it gets no crop",
}


@dataclass(frozen=True, slots=True)
class Checked:
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
        """What `check --json` prints."""
        data = self.dataset

        def counted(classes: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
            return {name: {"photos": photos, "people": people} for name, (photos, people) in classes.items()}

        return {
            "data": str(data.root),
            "kind": data.kind,
            "train": {"photos": len(data.train), "people": len({photo.person for photo in data.train})},
            "eval": {"photos": len(data.evaluation)},
            "tasks": {task: counted(classes) for task, classes in self.classes.items()},
            "joint": counted(self.joint),
            "skipped": dict(data.skipped),
            "fatal": sum(defect.fatal for defect in data.defects),
            "defects": [
                {"kind": one.kind, "where": one.where, "message": one.message, "fatal": one.fatal}
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
) -> Checked:
    """Count the classes and look for what can't be seen from names alone.

    Args:
        dataset: as it was loaded, with its own defects.
        tasks: whose classes are counted.
        decode: says why a photo can't be read, or None when it can; None leaves photos unread.
        digests: file -> sha256; files without one can't be read.
        threads: that decode.
    """
    defects = [*dataset.defects, *_identical(dataset, digests)]
    if decode is not None:
        defects += _unreadable(dataset, decode, threads)
    defects.sort(key=lambda defect: not defect.fatal)
    classes, joint = _counts(dataset.train, tasks)
    return Checked(replace(dataset, defects=tuple(defects)), classes, joint)


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


def _identical(dataset: Dataset, digests: Mapping[Path, str]) -> list[Defect]:
    by_content: defaultdict[str, list[Photo]] = defaultdict(list)
    for photo in dataset.train + dataset.evaluation:
        if photo.path in digests:
            by_content[digests[photo.path]].append(photo)
    to_train = {photo.name for photo in dataset.train}
    return [_describe_twins(twins, to_train) for twins in by_content.values() if len(twins) > 1]


def _describe_twins(twins: Sequence[Photo], to_train: set[str]) -> Defect:
    first, *others = twins
    names = ", ".join(photo.name for photo in others[:4])
    labelled = [photo for photo in twins if photo.name in to_train]
    if len(labelled) < len(twins):
        if labelled:
            return Defect("identical photos in train and eval", first.name, f"has the same bytes as {names}")
        return Defect("identical photos", first.name, f"has the same bytes as {names}")
    if any(photo.labels != first.labels for photo in others):
        message = f"has the same bytes as {names}, and other labels; one of them is wrong"
        return Defect("identical photos, different labels", first.name, message)
    if any(photo.person != first.person for photo in others):
        message = f"has the same bytes as {names}; these people are kept in one fold"
        return Defect("identical photos of two people", first.name, message)
    return Defect("identical photos", first.name, f"has the same bytes as {names}")


def _unreadable(dataset: Dataset, decode: Callable[[Path], str | None], threads: int) -> list[Defect]:
    there = [photo for photo in dataset.train + dataset.evaluation if photo.path.is_file()]
    with ThreadPoolExecutor(threads) as pool:
        reasons = pool.map(lambda photo: decode(photo.path), there)
        return [
            Defect("unreadable file", photo.name, f"{reason}; it gets no crop")
            for photo, reason in zip(there, reasons, strict=True)
            if reason is not None
        ]
