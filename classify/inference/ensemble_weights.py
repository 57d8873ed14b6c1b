"""How much each member of an ensemble should count, from its predictions for people that it was not trained on.

(K, N, C) held-out probabilities of K members and true class indices (N,) -> K weights, and cross-fitted predictions
of the weighted mean.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.model_selection import GroupKFold

from classify.evaluation.metrics import Codes
from classify.inference.decision import TINY, DecisionRule, Probabilities, mean_probabilities

FOLDS = 5  # of people
Weights = tuple[float, ...]
Weigh = Callable[[NDArray[np.float32], Codes], Weights]
FitRule = Callable[[Probabilities, Codes], DecisionRule]


def fit_weights(parts: NDArray[np.float32], true_codes: Codes) -> Weights:
    """Find the weights, not negative and adding up to 1, whose weighted mean has the smallest log loss.

    The loss is convex in the weights, so the start of the search does not matter. A member that adds nothing gets 0.

    Args:
        parts: (K, N, C) probabilities of each member.
        true_codes: (N,) class indices, all labelled.

    Source: Breiman, "Stacked Regressions", 1996, with the log loss in place of the squared error.
    """
    members = len(parts)
    likelihood = parts[:, np.arange(len(true_codes)), true_codes].astype(np.float64)  # (K, N)

    def loss_and_gradient(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        mixed = np.maximum(weights @ likelihood, TINY)
        return float(-np.log(mixed).mean()), -(likelihood / mixed).mean(axis=1)

    sum_is_one: Any = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}
    start, bounds = np.full(members, 1 / members), [(0, 1)] * members
    result: Any = minimize(loss_and_gradient, start, jac=True, bounds=bounds, constraints=[sum_is_one], method="SLSQP")
    weights = np.round(np.clip(result.x, 0, 1), 4)
    return tuple(float(weight) for weight in weights / weights.sum())


def equal_weights(parts: NDArray[np.float32], _: Codes) -> Weights:
    """The same weight for every member."""
    return (1 / len(parts),) * len(parts)


def cross_fit(
    parts: NDArray[np.float32], true_codes: Codes, people: Sequence[str], fit: FitRule, weigh: Weigh = equal_weights
) -> tuple[Probabilities, Codes]:
    """Apply to each photo weights and a rule that were fitted to other people's photos, so that it can be scored.

    Args:
        parts: (K, N, C) probabilities of each member.
        true_codes: (N,), -1 where unlabelled.
        people: the person of each photo.
        fit: weighted mean probabilities and true codes of labelled photos -> DecisionRule.
        weigh: each member's probabilities and the true codes of labelled photos -> weights.

    Returns:
        Calibrated probabilities (N, C) and answers (N,).
    """
    calibrated = mean_probabilities(list(parts))
    answers = calibrated.argmax(axis=1)
    folds = min(FOLDS, len(set(people)))
    if folds < 2:
        return calibrated, answers
    for others, fold in GroupKFold(folds).split(true_codes, groups=list(people)):
        labelled = others[true_codes[others] >= 0]
        if len(labelled):
            weights = weigh(parts[:, labelled], true_codes[labelled])
            decision_rule = fit(mean_probabilities(list(parts[:, labelled]), weights), true_codes[labelled])
            calibrated[fold] = decision_rule.calibrated(mean_probabilities(list(parts[:, fold]), weights))
            answers[fold] = decision_rule.answers(calibrated[fold])
    return calibrated, answers
