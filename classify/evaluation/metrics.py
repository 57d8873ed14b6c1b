"""How good predictions are: macro-F1 and accuracy, with intervals over people.

true and told class indices (N,) and the person of each -> Score.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from classify.tasks import UNLABELLED, Task, joint_class, joint_names

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


def score_tasks(
    tasks: Sequence[Task], truths: Mapping[str, Codes], answers: Mapping[str, Codes], people: Sequence[str]
) -> dict[str, Score]:
    """The scores of the joint class, "joint", and of every task; those without any labelled photo are left out.

    Args:
        tasks: in config order.
        truths, answers: per task, (N,) class indices; a truth is -1 where unlabelled.
        people: the person of each photo.
    """
    order = [task.name for task in tasks]
    joint = [
        np.array(
            [joint_class(tasks, codes) for codes in zip(*(own[name].tolist() for name in order), strict=True)], np.intp
        )
        for own in (truths, answers)
    ]
    pairs = {"joint": (*joint, len(joint_names(tasks)))}
    pairs |= {task.name: (truths[task.name], answers[task.name], len(task.classes)) for task in tasks}
    scores: dict[str, Score] = {}
    for name, (truth, told, classes) in pairs.items():
        labelled = truth != UNLABELLED
        if labelled.any():
            whose = [person for person, there in zip(people, labelled.tolist(), strict=True) if there]
            scores[name] = score(truth[labelled], told[labelled], whose, classes)
    return scores


def class_table(truth: Codes, told: Codes, names: Sequence[str]) -> list[ClassScore]:
    """Precision, recall, F1 and number of photos of every class."""
    columns: Any = precision_recall_fscore_support(truth, told, labels=np.arange(len(names)), zero_division=ABSENT)
    return [
        ClassScore(name, float(precision), float(recall), float(f1), int(photos))
        for name, precision, recall, f1, photos in zip(names, *columns, strict=True)
    ]


def draw_people(people: int, draws: int, seed: int) -> NDArray[np.float64]:
    """How often each person is in each bootstrap draw, (draws, people); every row adds up to `people`."""
    times = np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), size=draws)
    return times.astype(np.float64)  # a product of floats is many times as fast, and as exact, as one of integers


def drawn_macro_f1(
    truth: Codes, told: Codes, person: NDArray[np.intp], times: NDArray[np.float64], classes: int
) -> NDArray[np.float64]:
    """The macro-F1 of every bootstrap draw, (draws,).

    Args:
        truth, told: (N,) as for `score`.
        person: (N,) the column of `times` that each photo belongs to.
        times: (draws, people) from `draw_people`.
        classes: number of classes.
    """
    # Counts per person; a draw is a sum of some of them, so that 1,000 draws are one product.
    hit = _counts(truth, truth == told, person, times.shape[1], classes)
    occurs = _counts(truth, truth >= 0, person, times.shape[1], classes)
    occurs += _counts(told, told >= 0, person, times.shape[1], classes)
    hits, occurrences = times @ hit, times @ occurs
    f1 = np.divide(2 * hits, occurrences, out=np.zeros_like(hits), where=occurrences > 0)
    return f1.sum(axis=1) / np.maximum((occurrences > 0).sum(axis=1), 1)


def interval_of(drawn: NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95% of a figure's draws."""
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def _counts(
    codes: Codes, counted: NDArray[np.bool_], person: NDArray[np.intp], people: int, classes: int
) -> NDArray[np.float64]:
    """How often each person has each class among the photos that are `counted`, (people, classes)."""
    cell = person[counted] * classes + codes[counted]
    return np.bincount(cell, minlength=people * classes).reshape(people, classes).astype(np.float64)


def _interval(
    truth: Codes, told: Codes, people: Sequence[str], classes: int, draws: int, seed: int
) -> tuple[float, float]:
    names, person = np.unique(np.asarray(people), return_inverse=True)
    times = draw_people(len(names), draws, seed)
    return interval_of(drawn_macro_f1(truth, told, person, times, classes))
