"""What is predicted from a face: tasks, their classes, and the joint class over all tasks.

In: a label as the user wrote it (a class name, or a number for a task with edges). Out: a class index per task, and one
joint class index for all of them.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

UNLABELLED = -1


@dataclass(frozen=True, slots=True)
class Task:
    """One classification task."""

    name: str  # as in the config and in the columns of predictions.csv
    classes: tuple[str, ...]  # class names; the position is the class index
    # for numeric labels, the numbers at which the next class begins; `(30, 60)` makes three classes
    edges: tuple[float, ...] = ()
    low: float = float("-inf")  # low, high: the smallest and largest valid number; an age of 300 is refused
    high: float = float("inf")

    def encode(self, label: str | float) -> int:
        """Return the class index of `label`, in [0, number of classes).

        Raises:
            ValueError: the label is no class of this task, or no number in its range; the message lists what is valid.
        """
        if not self.edges:
            if str(label) in self.classes:
                return self.classes.index(str(label))
            raise ValueError(f"{self.name} is {str(label)!r}, which is none of {', '.join(self.classes)}")
        return bisect_right(self.edges, self.number(label))

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
