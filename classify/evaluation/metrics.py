"""How good predictions are: macro-F1 and accuracy, with intervals over people.

In: true and predicted class indices (N,) and the person in each photo. Out: a Score.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from classify.tasks import UNLABELLED, Task, joint_class, joint_names

Codes = NDArray[np.intp]  # class indices
NO_HIT_F1: Any = 0  # Any, because scikit-learn's types allow only strings for zero_division


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one task or of the joint class."""

    macro_f1: float  # in [0, 1], as the function of that name has it
    low: float  # low, high: 95% bootstrap interval of macro_f1, over people drawn with replacement
    high: float
    accuracy: float  # share of correct predictions
    # (C, C + 1) counts of true class x predicted class; the last column counts missing predictions
    confusion: NDArray[np.intp]

    def as_json(self) -> dict[str, float]:
        """Return the figures that `evaluate --json` prints."""
        return {"macro_f1": self.macro_f1, "low": self.low, "high": self.high, "accuracy": self.accuracy}


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One row of the per-class table; `photos` counts those whose true class it is."""

    name: str
    precision: float
    recall: float
    f1: float
    photos: int


def macro_f1(true_codes: Codes, predicted_codes: Codes) -> float:
    """Return the mean F1 of all classes that are true or predicted somewhere, in [0, 1].

    F1 of class c = 2 * TP / (2 * TP + FP + FN), where TP are the photos with c both true and predicted, FP those with
    c only predicted, and FN those with c only true. All classes have the same weight.

    Args:
        true_codes: (N,) class indices.
        predicted_codes: (N,) class indices, or -1 for a missing prediction, which is wrong.

    >>> true, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    >>> round(macro_f1(true, predicted), 4)  # the mean of 4/5 for class 0 and 2/3 for class 1
    0.7333
    """
    # Counted here, as scikit-learn's f1_score is far slower, and factors are fitted with thousands of calls.
    classes = int(max(true_codes.max(initial=0), predicted_codes.max(initial=0))) + 1
    hits = np.bincount(true_codes[true_codes == predicted_codes], minlength=classes)
    occurrences = np.bincount(true_codes, minlength=classes)
    occurrences += np.bincount(predicted_codes[predicted_codes >= 0], minlength=classes)  # -1 is no class
    occurring = occurrences > 0
    return float((2 * hits[occurring] / occurrences[occurring]).mean()) if occurring.any() else 0.0


def score(
    true_codes: Codes, predicted_codes: Codes, people: Sequence[str], classes: int, *, draws: int = 1000, seed: int = 0
) -> Score:
    """Score predictions.

    Args:
        true_codes: (N,) in [0, classes).
        predicted_codes: (N,) in [0, classes), or -1 for a missing prediction, which counts as wrong.
        people: (N,) the person in each photo. The bootstrap draws people, not photos, because the photos of one
            person tend to be right or wrong together.
        classes: number of classes.
        draws: number of bootstrap draws.
        seed: of the bootstrap.

    >>> one = score(np.array([0, 0, 1, 1]), np.array([0, 1, 1, -1]), ["ann", "ann", "bob", "bob"], 2)
    >>> round(one.macro_f1, 4), one.accuracy
    (0.5833, 0.5)
    >>> one.confusion.tolist()
    [[1, 1, 0], [0, 1, 1]]
    """
    # A missing prediction has a column of its own.
    columns = np.where(predicted_codes < 0, classes, predicted_codes)
    confusion = confusion_matrix(true_codes, columns, labels=np.arange(classes + 1))[:classes]
    names, person = np.unique(np.asarray(people), return_inverse=True)
    counts = bootstrap_counts(len(names), draws, seed)
    low, high = percentile_interval(bootstrap_macro_f1(true_codes, predicted_codes, person, counts, classes))
    accuracy = float(accuracy_score(true_codes, predicted_codes))
    return Score(macro_f1(true_codes, predicted_codes), low, high, accuracy, confusion)


def score_tasks(
    tasks: Sequence[Task], true_codes: Mapping[str, Codes], predicted_codes: Mapping[str, Codes], people: Sequence[str]
) -> dict[str, Score]:
    """Score the joint class, as "joint", and each task; those without any labelled photo are left out.

    Args:
        tasks: in config order.
        true_codes, predicted_codes: by task name, (N,) class indices; a true one is -1 where the photo is unlabelled.
        people: (N,) the person in each photo.
    """
    joint = (_joint_codes(tasks, true_codes), _joint_codes(tasks, predicted_codes))
    columns = {"joint": (*joint, len(joint_names(tasks)))}
    for task in tasks:
        columns[task.name] = (true_codes[task.name], predicted_codes[task.name], len(task.classes))
    scores: dict[str, Score] = {}
    for name, (true, predicted, classes) in columns.items():
        labelled = np.flatnonzero(true != UNLABELLED)
        if len(labelled):
            scores[name] = score(
                true[labelled], predicted[labelled], [people[row] for row in labelled.tolist()], classes
            )
    return scores


def class_table(true_codes: Codes, predicted_codes: Codes, names: Sequence[str]) -> list[ClassScore]:
    """Return precision, recall, F1 and number of photos of each class.

    >>> [row] = class_table(np.array([0, 0]), np.array([0, -1]), ["male"])
    >>> row.precision, row.recall, row.photos
    (1.0, 0.5, 2)
    """
    columns: Any = precision_recall_fscore_support(
        true_codes, predicted_codes, labels=np.arange(len(names)), zero_division=NO_HIT_F1
    )
    return [
        ClassScore(name, float(precision), float(recall), float(f1), int(photos))
        for name, precision, recall, f1, photos in zip(names, *columns, strict=True)
    ]


def bootstrap_counts(people: int, draws: int, seed: int) -> NDArray[np.float64]:
    """Return how often each person is in each bootstrap draw, (draws, people); each row adds up to `people`."""
    counts = np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), size=draws)
    return counts.astype(np.float64)  # a matrix product is much faster on floats than on integers, and as exact


def bootstrap_macro_f1(
    true_codes: Codes, predicted_codes: Codes, person: NDArray[np.intp], counts: NDArray[np.float64], classes: int
) -> NDArray[np.float64]:
    """Return the macro-F1 of each bootstrap draw, (draws,).

    Args:
        true_codes, predicted_codes: (N,) as for `score`.
        person: (N,) the column of `counts` that each photo belongs to.
        counts: (draws, people) from `bootstrap_counts`.
        classes: number of classes.

    >>> everyone_once = np.ones((1, 2))
    >>> drawn = bootstrap_macro_f1(np.array([0, 1]), np.array([0, 0]), np.array([0, 1]), everyone_once, 2)
    >>> drawn.round(4).tolist()  # the mean of 2/3 for class 0 and 0 for class 1
    [0.3333]
    """
    f1 = _bootstrap_f1(true_codes, predicted_codes, person, counts, classes)
    occurs = ~np.isnan(f1)
    return np.where(occurs, f1, 0).sum(axis=1) / np.maximum(occurs.sum(axis=1), 1)


def class_intervals(
    true_codes: Codes, predicted_codes: Codes, people: Sequence[str], classes: int, *, draws: int = 1000, seed: int = 0
) -> list[tuple[float, float] | None]:
    """Return the 95% bootstrap interval of each class's F1, over people; None for a class that never occurs.

    Draws in which a class is neither true nor predicted say nothing about it, and are left out.

    Args:
        true_codes, predicted_codes, people: (N,) as for `score`.
        classes: number of classes.
        draws: number of bootstrap draws.
        seed: of the bootstrap.

    >>> class_intervals(np.array([0, 0]), np.array([0, 0]), ["ann", "bob"], 2)
    [(1.0, 1.0), None]
    """
    names, person = np.unique(np.asarray(people), return_inverse=True)
    f1 = _bootstrap_f1(true_codes, predicted_codes, person, bootstrap_counts(len(names), draws, seed), classes)
    columns = [column[~np.isnan(column)] for column in f1.T]
    return [percentile_interval(column) if len(column) else None for column in columns]


def _bootstrap_f1(
    true_codes: Codes, predicted_codes: Codes, person: NDArray[np.intp], counts: NDArray[np.float64], classes: int
) -> NDArray[np.float64]:
    """Return the F1 of each class in each draw, (draws, classes); NaN where the class does not occur in the draw."""
    # TP and 2 * TP + FP + FN per person. A draw sums them over its people, so one product computes all draws.
    people = counts.shape[1]
    hits = _counts(true_codes, true_codes == predicted_codes, person, people, classes)
    occurrences = _counts(true_codes, true_codes >= 0, person, people, classes)
    occurrences += _counts(predicted_codes, predicted_codes >= 0, person, people, classes)
    hits, occurrences = counts @ hits, counts @ occurrences
    return np.divide(2 * hits, occurrences, out=np.full_like(hits, np.nan), where=occurrences > 0)


def percentile_interval(drawn: NDArray[np.float64]) -> tuple[float, float]:
    """Return the ends of the middle 95% of a figure's bootstrap draws.

    >>> percentile_interval(np.arange(101.0))
    (2.5, 97.5)
    """
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def _joint_codes(tasks: Sequence[Task], codes: Mapping[str, Codes]) -> Codes:
    """Return the joint class of each photo, (N,); -1 where any task's code is."""
    rows = zip(*(codes[task.name].tolist() for task in tasks), strict=True)
    return np.array([joint_class(tasks, row) for row in rows], np.intp)


def _counts(
    codes: Codes, counted: NDArray[np.bool_], person: NDArray[np.intp], people: int, classes: int
) -> NDArray[np.float64]:
    """Return how often each person has each class among the photos that are `counted`, (people, classes)."""
    cell = person[counted] * classes + codes[counted]
    return np.bincount(cell, minlength=people * classes).reshape(people, classes).astype(np.float64)
