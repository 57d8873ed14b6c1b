"""How good predictions are: macro-F1 and accuracy, with intervals over people.

true and told class indices (N,) and the person of each -> Score.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

Codes = NDArray[np.intp]
ABSENT: Any = 0  # the F1 of a class without any hit; scikit-learn's types know only its other spelling, a string


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one task or of the joint class.

    Attributes:
        macro_f1: unweighted mean of the F1 of every class that occurs among the truths or the answers, as
            scikit-learn's default has it.
        low, high: 95% bootstrap interval of macro_f1, people drawn with replacement.
        accuracy: share of right answers.
        confusion: (C, C + 1) counts; rows are truths; the last column counts photos without an answer.
    """

    macro_f1: float
    low: float
    high: float
    accuracy: float
    confusion: NDArray[np.intp]

    def as_json(self) -> dict[str, float]:
        """The figures that `evaluate --json` prints."""
        return {"macro_f1": self.macro_f1, "low": self.low, "high": self.high, "accuracy": self.accuracy}


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One row of the per-class table."""

    name: str
    precision: float
    recall: float
    f1: float
    photos: int


def macro_f1(truth: Codes, told: Codes) -> float:
    """Macro-F1 of class indices; -1 in `told` is "no answer" and always wrong."""
    # Labels of the truth and the answers without -1: "no answer" is no class whose F1 could be averaged in.
    labels = np.union1d(truth, told[told >= 0])
    return float(f1_score(truth, told, labels=labels, average="macro", zero_division=ABSENT))


def score(truth: Codes, told: Codes, people: Sequence[str], classes: int, *, draws: int = 1000, seed: int = 0) -> Score:
    """Score answers against truths.

    Args:
        truth: (N,) in [0, classes).
        told: (N,) in [0, classes), or -1 where there is no answer, which is counted as wrong.
        people: the person of each photo; the interval draws people, not photos, because one person's photos
            are right and wrong together.
        classes: number of classes.
        draws: bootstrap draws.
        seed: of the bootstrap.
    """
    confusion = confusion_matrix(truth, np.where(told < 0, classes, told), labels=np.arange(classes + 1))[:classes]
    low, high = _interval(truth, told, people, classes, draws, seed)
    return Score(macro_f1(truth, told), low, high, float(accuracy_score(truth, told)), confusion)


def class_table(truth: Codes, told: Codes, names: Sequence[str]) -> list[ClassScore]:
    """Precision, recall, F1 and number of photos of every class."""
    columns: Any = precision_recall_fscore_support(truth, told, labels=np.arange(len(names)), zero_division=ABSENT)
    return [
        ClassScore(name, float(precision), float(recall), float(f1), int(photos))
        for name, precision, recall, f1, photos in zip(names, *columns, strict=True)
    ]


def _interval(
    truth: Codes, told: Codes, people: Sequence[str], classes: int, draws: int, seed: int
) -> tuple[float, float]:
    # One confusion matrix per person; a draw is a sum of some of them, so that 1,000 draws are one product.
    names, person = np.unique(np.asarray(people), return_inverse=True)
    columns = classes + 1
    cell = (person * classes + truth) * columns + np.where(told < 0, classes, told)
    each = np.bincount(cell, minlength=len(names) * classes * columns).reshape(len(names), classes * columns)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    matrices = (times @ each).reshape(draws, classes, columns)
    hit = np.diagonal(matrices[:, :, :classes], axis1=1, axis2=2)
    occurs = matrices.sum(axis=2) + matrices[:, :, :classes].sum(axis=1)  # times as truth + times as answer
    f1 = np.divide(2 * hit, occurs, out=np.zeros_like(hit, dtype=np.float64), where=occurs > 0)
    macro = f1.sum(axis=1) / np.maximum((occurs > 0).sum(axis=1), 1)
    low, high = np.quantile(macro, [0.025, 0.975])
    return float(low), float(high)
