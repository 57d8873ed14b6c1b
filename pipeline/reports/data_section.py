"""What a page shows of a data set: photos and people per class, and a histogram of each numeric label.

In: labelled photos. Out: DataFacts. In: RUN/class_counts.jsonl. Out: how often an epoch shows each class.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from classify.tasks import UNLABELLED, Task, encode_labels
from pipeline.intake.check import count_classes
from pipeline.intake.photo import Photo
from pipeline.reports.plots import histogram_of_people
from pipeline.training.class_counts import ClassCount


@dataclass(frozen=True, slots=True)
class LabelCount:
    """How many labelled photos, and people, are of a class."""

    name: str
    photos: int
    people: int


@dataclass(frozen=True, slots=True)
class DataFacts:
    """A data set in figures."""

    photos: int
    people: int
    tasks: dict[str, list[LabelCount]]
    joint: list[LabelCount]
    histograms: list[str]  # drawings

    @property
    def most(self) -> int:
        """The number of photos of the largest joint class."""
        return max((each.photos for each in self.joint), default=0)


def data_facts(photos: Sequence[Photo], tasks: Sequence[Task]) -> DataFacts:
    """Count photos and people per class; labels that are no class are left to the check."""
    classes, joint = count_classes(photos, tasks)
    histograms = [_histogram(photos, task, tasks) for task in tasks if task.edges]
    return DataFacts(
        len(photos),
        len({photo.person for photo in photos}),
        {name: _counts(counts) for name, counts in classes.items()},
        _counts(joint),
        [drawing for drawing in histograms if drawing],
    )


def shown_in_an_epoch(lines: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[ClassCount]]]:
    """The names of networks, and the counts of each class; networks with the same counts share an entry.

    Raises:
        ValueError: a line is not one that a training wrote.
    """
    networks: defaultdict[str, list[ClassCount]] = defaultdict(list)
    for line in lines:
        try:
            count = TypeAdapter(ClassCount).validate_python(line)
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"]) from None
        networks[count.network].append(count)
    by_counts: dict[tuple[ClassCount, ...], list[str]] = {}
    for name, counts in networks.items():
        by_counts.setdefault(tuple(replace(count, network="") for count in counts), []).append(name)
    return [(", ".join(names), [*counts]) for counts, names in by_counts.items()]


def _counts(counts: Any) -> list[LabelCount]:
    return [LabelCount(name, photos, people) for name, (photos, people) in counts.items()]


def _histogram(photos: Sequence[Photo], numeric: Task, tasks: Sequence[Task]) -> str:
    """People by their number, such as an age, and by a task whose class is the same in all photos of a person."""
    numbers: dict[str, int] = {}
    codes: defaultdict[str, list[tuple[int, ...]]] = defaultdict(list)
    for photo in photos:
        try:
            encoded = encode_labels(tasks, photo.labels)
        except ValueError:
            continue
        if numeric.name in photo.labels:
            numbers.setdefault(photo.person, int(numeric.number(photo.labels[numeric.name])))
            codes[photo.person].append(encoded)
    if not numbers:
        return ""
    grouping = next(
        (column for column, task in enumerate(tasks) if not task.edges and _is_of_people(column, codes)), None
    )
    counts: dict[str, Counter[int]] = {}
    for person, number in numbers.items():
        code = UNLABELLED if grouping is None else codes[person][0][grouping]
        name = numeric.name if grouping is None else "unlabelled" if code < 0 else tasks[grouping].classes[code]
        counts.setdefault(name, Counter())[number] += 1
    return histogram_of_people({name: dict(each) for name, each in sorted(counts.items())}, numeric.name)


def _is_of_people(column: int, codes: dict[str, list[tuple[int, ...]]]) -> bool:
    return all(len({encoded[column] for encoded in of_person}) == 1 for of_person in codes.values())
