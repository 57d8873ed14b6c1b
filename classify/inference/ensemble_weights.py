"""What each of several voters should count, from what they told of people they had not seen.

(K, N, C) held-out probabilities of K voters and true class indices (N,) -> K weights, and honest scores of the mean.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.model_selection import GroupKFold

from classify.inference.calibration import PARTS, Codes
from classify.inference.decision import TINY, DecisionRule, Probabilities, vote

Weights = tuple[float, ...]
Weigh = Callable[[NDArray[np.float32], Codes], Weights]


def fit_weights(parts: NDArray[np.float32], truth: Codes) -> Weights:
    """The weights, not negative and adding up to 1, whose mean has the smallest log loss.

    The loss is convex in the weights, so where the search begins does not matter. A voter that adds nothing gets 0.

    Source: Breiman, "Stacked Regressions", 1996, with the log loss in place of the squared error.
    """
    ensemble = len(parts)
    likelihood = parts[:, np.arange(len(truth)), truth].astype(np.float64)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        told = np.maximum(weights @ likelihood, TINY)
        return float(-np.log(told).mean()), -(likelihood / told).mean(axis=1)

    constraint: Any = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}
    found: Any = minimize(
        loss,
        np.full(ensemble, 1 / ensemble),
        jac=True,
        bounds=[(0, 1)] * ensemble,
        constraints=[constraint],
        method="SLSQP",
    )
    weights = np.round(np.clip(found.x, 0, 1), 4)
    return tuple(float(weight) for weight in weights / weights.sum())


def equal_weights(parts: NDArray[np.float32], _: Codes) -> Weights:
    """The same for every voter."""
    return (1 / len(parts),) * len(parts)


def cross_fit_ensemble(
    parts: NDArray[np.float32],
    truth: Codes,
    people: Sequence[str],
    weigh: Weigh,
    fit: Callable[[Probabilities, Codes], DecisionRule],
) -> tuple[Probabilities, Codes]:
    """Means and answers by weights and verdicts that were fitted to other people's photos.

    Args:
        parts: (K, N, C).
        truth: (N,), -1 where unlabelled.
        people: the person of each photo.
        weigh: probabilities and truths of labelled photos -> weights.
        fit: their mean and truths -> Verdict.

    Returns:
        (N, C) and (N,).
    """
    told = vote(list(parts))
    answers = told.argmax(axis=1)
    groups = min(PARTS, len(set(people)))
    if groups < 2:
        return told, answers
    for others, own in GroupKFold(groups).split(told, groups=list(people)):
        labelled = others[truth[others] >= 0]
        if len(labelled):
            weights = weigh(parts[:, labelled], truth[labelled])
            decision_rule = fit(vote(list(parts[:, labelled]), weights), truth[labelled])
            told[own] = decision_rule.calibrated(vote(list(parts[:, own]), weights))
            answers[own] = decision_rule.answers(told[own])
    return told, answers


def log_loss(told: Probabilities, truth: Codes) -> float:
    """The mean of minus the logarithm of the true class's probability; every photo labelled."""
    return float(-np.log(np.clip(told[np.arange(len(truth)), truth], TINY, 1)).mean())
