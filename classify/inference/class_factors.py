"""Fit class factors to held-out photos, for one task or for the joint class of several.

calibrated probabilities (N, C) and true class indices (N,) of each task -> the factors of each task's classes.

The answer is the class with the largest factor * probability. With the right factors, a rare class is chosen as often
as macro-F1 rewards it.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from classify.evaluation.metrics import Codes, macro_f1
from classify.inference.decision import Probabilities

GRID = np.geomspace(0.25, 4.0, 17)  # tried for one class at a time; 1 is among them
ROUNDS = 3
Factors = tuple[float, ...]  # one per class, the largest of them 1


def fit_factors(probabilities: Probabilities, true_codes: Codes) -> Factors:
    """Find the factors f with the best macro-F1 when the answer is the class c with the largest f[c] * p[c].

    The second class never has the largest probability, so the first is counted for less:

    >>> fit_factors(np.array([[0.95, 0.05], [0.9, 0.1], [0.6, 0.4]]), np.array([0, 0, 1]))
    (0.25, 1.0)
    """
    [factors] = fit_joint_factors([probabilities], [true_codes])
    return factors


def fit_joint_factors(
    probabilities: Sequence[Probabilities], true_codes: Sequence[Codes], start: Sequence[Factors] = ()
) -> list[Factors]:
    """Find the factors of all tasks with the best macro-F1 of the joint class.

    Coordinate ascent over a grid; a factor moves only where the score rises, so that a few photos do not move it for
    nothing. From factors that are best for each task alone, it needs few steps.

    Args:
        probabilities: of each task, (N, C).
        true_codes: of each task, (N,) class indices; every photo has all labels.
        start: of each task; 1 for all classes if it is empty.

    Returns:
        The factors of each task.
    """
    sizes = [part.shape[1] for part in probabilities]
    columns = [np.ascontiguousarray(part.T) for part in probabilities]  # (C, N): argmax over rows is much slower
    factors = [np.array(task_factors) for task_factors in start] or [np.ones(size) for size in sizes]
    answers = [_answers(part, task_factors) for part, task_factors in zip(columns, factors, strict=True)]
    true_joint = np.ravel_multi_index(tuple(true_codes), sizes)

    def score_with(task: int, task_answers: Codes) -> float:
        changed = [*answers[:task], task_answers, *answers[task + 1 :]]
        return macro_f1(true_joint, np.ravel_multi_index(tuple(changed), sizes))

    best = score_with(0, answers[0])
    for _ in range(ROUNDS):
        before = best
        for task, size in enumerate(sizes):
            for code, factor in product(range(size), GRID):
                candidate = factors[task].copy()
                candidate[code] = factor
                task_answers = _answers(columns[task], candidate)
                score = score_with(task, task_answers)
                if score > best + 1e-6:
                    best, factors[task], answers[task] = score, candidate, task_answers
        if best <= before:
            break
    return [rescaled(task_factors) for task_factors in factors]


def rescaled(factors: NDArray[np.float64]) -> Factors:
    """Divide the factors by the largest of them, which changes no answer."""
    return tuple(float(factor) for factor in np.round(factors / factors.max(), 4))


def _answers(columns: NDArray[np.float32], factors: NDArray[np.float64]) -> Codes:
    """(C, N) probabilities and (C,) factors -> (N,) class indices."""
    return (columns * factors[:, None]).argmax(axis=0)
