"""What is predicted from a face: tasks, their classes, and the joint class over all tasks.

In: a label as the user wrote it (a class name, or a number for a task with edges). Out: a class index per task, and one
joint class index for all of them.

Programs write one label in several ways: pandas turns a column of 0 and 1 with an empty cell into 0.0 and 1.0, and a
column of booleans into True and False; disks and keyboards have two Unicode forms of one name. `Task.class_index` alone
decides which class a label names.
"""

import functools
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

UNLABELLED = -1
# How pandas, R, SQL and spreadsheets write an empty cell. Other spellings, such as "none", can be labels.
EMPTY_CELLS = frozenset({"", "nan", "NaN", "None", "NULL", "null", "NA", "N/A", "#N/A", "<NA>", "NaT"})
TRUTH = {"false": False, "no": False, "0": False, "true": True, "yes": True, "1": True}


@dataclass(frozen=True, slots=True)
class Task:
    """One classification task."""

    name: str  # as in the config and in the columns of predictions.csv
    classes: tuple[str, ...]  # class names; the position is the class index
    # for numeric labels, the numbers at which the next class begins; `(30, 60)` makes three classes
    edges: tuple[float, ...] = ()
    low: float = float("-inf")  # low, high: the smallest and largest valid number; an age of 300 is refused
    high: float = float("inf")

    def class_index(self, label: str | float) -> int | None:
        """Return the index of the class that `label` names; None if it names none, or could name two.

        The name counts, whatever its Unicode form and surrounding blanks. Else a number names the class that is the
        same number (1.0 is 1), and a truth value that of two classes which means the same (True is 1, or yes). Where no
        class is a number, a whole number is a class index. For a task with edges, only the name counts: 1 is a label.
        """
        return _named_class(self.classes, comparable(str(label)), only_name=bool(self.edges))

    def is_empty(self, cell: str | float | None) -> bool:
        """Whether a table's cell holds no label: it is empty, or holds what programs write for nothing.

        None, null and the like are labels where a class has that name, in capitals or not.
        """
        text = "" if cell is None else comparable(str(cell))
        return text in EMPTY_CELLS and text.casefold() not in {comparable(name).casefold() for name in self.classes}

    def encode(self, label: str | float) -> int:
        """Return the class index of `label`, in [0, number of classes).

        Raises:
            ValueError: the label is no class of this task, or no number in its range; the message lists what is valid.
        """
        if self.edges:
            return bisect_right(self.edges, self.number(label))
        index = self.class_index(label)
        if index is None:
            raise ValueError(f"{self.name} is {str(label)!r}, which is none of {', '.join(self.classes)}")
        return index

    def normalised(self, label: str | float) -> str | float:
        """Return the label in the form in which it is kept: the name of its class, or a valid number as it is written.

        Raises:
            ValueError: as in `encode`.
        """
        index = self.encode(label)
        return label if self.edges else self.classes[index]

    def number(self, label: str | float) -> float:
        """Return a numeric label as a number.

        Raises:
            ValueError: it is no number, or outside `low` and `high`.
        """
        try:
            value = float(label)
        except ValueError:
            raise ValueError(f"{self.name} is {str(label)!r}, which is not a number") from None
        if not self.low <= value <= self.high:
            raise ValueError(f"{self.name} is {value:g}, which is not between {self.low:g} and {self.high:g}")
        return value


def comparable(name: str) -> str:
    """A name as it is compared: in one Unicode form, without surrounding blanks."""
    return unicodedata.normalize("NFC", name).strip()


@functools.lru_cache(maxsize=4096)
def _named_class(classes: tuple[str, ...], label: str, *, only_name: bool) -> int | None:
    """See `Task.class_index`."""
    names = [comparable(name) for name in classes]
    if label not in names and re.match(r"'+[=+\-@]", label):
        label = label[1:]  # a table marks as text what a spreadsheet would take for a formula
    if label in names or only_name:
        return names.index(label) if label in names else None
    numbers, number = [_whole_number(name) for name in names], _whole_number(label)
    readings: set[int] = set()
    if number is not None:
        readings |= {index for index, value in enumerate(numbers) if value == number}
        if not any(value is not None for value in numbers) and 0 <= number < len(classes):
            readings.add(number)
    truths, truth = [_truth(name) for name in names], _truth(label)
    if truth is not None and sorted(truths, key=str) == [False, True]:
        readings.add(truths.index(truth))
    return readings.pop() if len(readings) == 1 else None


def _whole_number(text: str) -> int | None:
    """The value of 1, 1.0, 01 and the like."""
    return int(text.partition(".")[0]) if re.fullmatch(r"[+-]?[0-9]{1,9}(\.0*)?", text) else None


def _truth(text: str) -> bool | None:
    """The truth value that a word or a number stands for."""
    number = _whole_number(text)
    return TRUTH.get(text.casefold() if number is None else str(number))


def encode_labels(tasks: Sequence[Task], labels: Mapping[str, str | float]) -> tuple[int, ...]:
    """Return one class index per task, in the order of `tasks`; `UNLABELLED` where `labels` has no entry for it."""
    return tuple(task.encode(labels[task.name]) if task.name in labels else UNLABELLED for task in tasks)


def joint_class(tasks: Sequence[Task], codes: Sequence[int]) -> int:
    """Combine the class indices of all tasks into one number; `UNLABELLED` when any of them is.

    A mixed-radix number with the first task as the highest digit: mask * 6 + gender * 3 + age for the competition's
    three tasks.
    """
    if UNLABELLED in codes:
        return UNLABELLED
    joint = 0
    for task, code in zip(tasks, codes, strict=True):
        joint = joint * len(task.classes) + code
    return joint


def split_joint(tasks: Sequence[Task], joint: int) -> tuple[int, ...]:
    """Return the class index of each task: the inverse of `joint_class`."""
    codes: list[int] = []
    for task in reversed(tasks):
        joint, code = divmod(joint, len(task.classes))
        codes.append(code)
    return tuple(reversed(codes))


def joint_names(tasks: Sequence[Task]) -> list[str]:
    """Return the names of all joint classes in order, as in "wear male <30"."""
    names = [""]
    for task in tasks:
        names = [f"{name} {label}".strip() for name in names for label in task.classes]
    return names


def describe_task(task: Task) -> dict[str, Any]:
    """A task as it stands in bundle.json and predictions.json."""
    limits = [task.low, task.high] if task.edges else None
    return {"classes": list(task.classes), "edges": list(task.edges), "range": limits}


def read_task(name: str, entry: Mapping[str, Any]) -> Task:
    """The inverse of `describe_task`; raises KeyError, TypeError or ValueError if the entry is none."""
    limits = entry["range"] if entry["edges"] else ()
    return Task(name, tuple(entry["classes"]), tuple(entry["edges"]), *limits)
