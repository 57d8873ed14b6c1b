"""From labels to training targets.

class indices (N,) and the numbers behind them (N,) -> rows of weights over classes, years or joint classes. A row adds
up to 1, and to 0 without a label, so rows can be weighted and mixed.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from classify.tasks import UNLABELLED, Task, joint_class

Codes = NDArray[np.intp]  # class indices; negative where there is no label
Numbers = NDArray[np.float64]  # the numbers behind labels such as an age; NaN where there is none
Targets = NDArray[np.float32]  # rows of weights over classes, or over years
FEWEST = 2  # labels that show an open end: a single one shows nothing
TINY = 1e-7  # keeps divisors and logarithms away from 0


def one_hot(codes: Codes, classes: int) -> Targets:
    """(N,) class indices -> (N, C), zero where the index is negative."""
    return np.where(codes[:, None] == np.arange(classes), 1.0, 0.0).astype(np.float32)


def find_open_end(task: Task, numbers: Sequence[float], people: Sequence[str]) -> int | None:
    """The number that stands for itself and all above it, as 60 in a table that calls everybody of 60 and over 60.

    It is the largest number, if it is the only one in the last class: at the class's edge in two photos or more;
    above the edge of two people or more, as the photos of one person have one number anyway.

    Args:
        task: with edges.
        numbers: (N,) the labels; NaN where there is none.
        people: (N,) who is in the photo.
    """
    last = [(number, person) for number, person in zip(numbers, people, strict=True) if number >= task.edges[-1]]
    values = {number for number, _ in last}
    if len(values) != 1 or not (value := values.pop()).is_integer():
        return None
    seen = len(last) if value == task.edges[-1] else len({person for _, person in last})
    return int(value) if seen >= FEWEST else None


def class_targets(task: Task, codes: Codes, numbers: Numbers, spread: float, top: int | None = None) -> Targets:
    """(N, C) one-hot rows; with `spread`, the mass in each bin of a normal distribution around the number.

    With `top`, numbers from there on stay one-hot: how far they are above the last edge is not known.
    """
    targets = one_hot(codes, len(task.classes))
    known = np.isfinite(numbers) & (codes != UNLABELLED)
    if top is not None:
        known &= ~(numbers >= top)
    if spread and known.any():
        edges, centres = np.array(task.edges), numbers[known]
        if (edges == np.floor(edges)).all():
            centres = centres + 0.5 * (centres == np.floor(centres))  # someone aged 29 is between 29.0 and 30.0
        below = _normal_below(edges[None], centres[:, None], spread)
        targets[known] = np.diff(below, axis=1, prepend=0.0, append=1.0)
    return targets


def year_targets(task: Task, codes: Codes, numbers: Numbers, spread: float, top: int | None) -> NDArray[np.float64]:
    """(N, years) normal distributions around the numbers, cut off at the ends of the task's range.

    Without a number, the row is even over the years of its class. With `top`, the last column stands for all years from
    `top` on.
    """
    years = np.arange(task.low, task.high + 1)
    last = round((task.high if top is None else top) - task.low)
    targets = np.zeros((len(codes), last + 1))
    for row, (code, number) in enumerate(zip(codes, numbers, strict=True)):
        if code == UNLABELLED:
            continue
        if not np.isfinite(number):
            mass = (np.searchsorted(task.edges, years, side="right") == code).astype(np.float64)
        elif top is not None and number >= top:
            mass = (years == top).astype(np.float64)
        else:
            # Rounded down as people round their age: 29.7 rounded up would be in the next bin.
            mass = np.exp(-0.5 * ((years - np.floor(number)) / spread) ** 2)
        targets[row] = np.append(mass[:last], mass[last:].sum()) / mass.sum()
    return targets


def joint_targets(tasks: Sequence[Task], codes: Codes) -> Targets:
    """(N, T) class indices -> (N, joint classes) one-hot rows; zero where the label of a task is missing."""
    joint = np.array([joint_class(tasks, row) for row in codes.tolist()], np.intp)
    return one_hot(joint, math.prod(len(task.classes) for task in tasks))


def _normal_below(edges: Numbers, centres: Numbers, spread: float) -> Numbers:
    """The mass below each edge (1, E) of normal distributions around centres (N, 1): (N, E)."""
    return np.vectorize(lambda z: 0.5 * (1 + math.erf(z / math.sqrt(2))))((edges - centres) / spread)
