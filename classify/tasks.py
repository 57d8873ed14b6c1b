"""What is to be told from a face: tasks, their classes, and the one joint class.

a label as the user wrote it (a class name, or a number for a task with edges) -> a class index; one index per task ->
the joint class.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

UNLABELLED = -1


@dataclass(frozen=True, slots=True)
class Task:
    """One question about a face.

    Attributes:
        name: as in the config and in the columns of predictions.csv.
        classes: class names; the position is the class index.
        edges: the numbers at which the next class begins, when the label is a number; `(30, 60)` makes three classes.
        low, high: numbers outside this range are no labels (an age of 300).
    """

    name: str
    classes: tuple[str, ...]
    edges: tuple[float, ...] = ()
    low: float = float("-inf")
    high: float = float("inf")

    def encode(self, label: str | float) -> int:
        """The class index of `label`.

        Raises:
            ValueError: the label is no class of this task, or no number in its range; the message says what is.
        """
        if not self.edges:
            if str(label) in self.classes:
                return self.classes.index(str(label))
            raise ValueError(f"{self.name} is {str(label)!r}, which is none of {', '.join(self.classes)}")
        return bisect_right(self.edges, self.number(label))

    def number(self, label: str | float) -> float:
        """The label of a task with bins as a number.

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
    """One class index per task in the order of `tasks`; `UNLABELLED` where `labels` has no entry for it."""
    return tuple(task.encode(labels[task.name]) if task.name in labels else UNLABELLED for task in tasks)


def joint_class(tasks: Sequence[Task], codes: Sequence[int]) -> int:
    """All class indices as one number, in mixed radix with the first task as the highest digit.

    mask * 6 + gender * 3 + age for the competition's three. `UNLABELLED` when any code is.
    """
    if UNLABELLED in codes:
        return UNLABELLED
    joint = 0
    for task, code in zip(tasks, codes, strict=True):
        joint = joint * len(task.classes) + code
    return joint


def split_joint(tasks: Sequence[Task], joint: int) -> tuple[int, ...]:
    """The inverse of `joint_class`."""
    codes: list[int] = []
    for task in reversed(tasks):
        joint, code = divmod(joint, len(task.classes))
        codes.append(code)
    return tuple(reversed(codes))


def joint_names(tasks: Sequence[Task]) -> list[str]:
    """The names of all joint classes in order, as in "wear male <30"."""
    names = [""]
    for task in tasks:
        names = [f"{name} {label}".strip() for name in names for label in task.classes]
    return names
