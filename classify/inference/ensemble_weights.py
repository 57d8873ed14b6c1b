"""How much each member of an ensemble should count, from its predictions for people that it was not trained on.

(K, N, C) held-out probabilities of K members and true class indices (N,) -> K weights, and cross-fitted predictions
of the weighted mean.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.model_selection import GroupKFold

from classify.evaluation.metrics import Codes
from classify.inference.decision import TINY, DecisionRule, Probabilities, mean_probabilities
from classify.tasks import UNLABELLED

FOLDS = 5  # of people
Weights = tuple[float, ...]
Weigh = Callable[[NDArray[np.float32], Codes], Weights]
# Per task, mean probabilities (N, C) and true codes (N,), -1 where unlabelled -> how they become answers
FitRules = Callable[[Mapping[str, Probabilities], Mapping[str, Codes]], Mapping[str, DecisionRule]]


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
    parts: Mapping[str, NDArray[np.float32]],
    true_codes: Mapping[str, Codes],
    people: Sequence[str],
    fit: FitRules,
    weigh: Weigh = equal_weights,
) -> tuple[dict[str, Probabilities], dict[str, Codes]]:
    """Apply to each photo weights and rules that were fitted to other people's photos, so that it can be scored.

    Args:
        parts: per task, (K, N, C) probabilities of each member.
        true_codes: per task, (N,), -1 where unlabelled.
        people: the person of each photo.
        fit: weighted mean probabilities and true codes of each task -> its DecisionRule.
        weigh: each member's probabilities and the true codes of a task's labelled photos -> weights.

    Returns:
        Per task, calibrated probabilities (N, C) and answers (N,).
    """
    calibrated = {name: mean_probabilities(list(task_parts)) for name, task_parts in parts.items()}
    answers = {name: mean.argmax(axis=1) for name, mean in calibrated.items()}
    folds = min(FOLDS, len(set(people)))
    if folds < 2:
        return calibrated, answers
    for others, fold in GroupKFold(folds).split(np.zeros(len(people)), groups=list(people)):
        means: dict[str, Probabilities] = {}  # of the other people
        fold_means: dict[str, Probabilities] = {}
        for name, task_parts in parts.items():
            labelled = others[true_codes[name][others] != UNLABELLED]
            weights = weigh(task_parts[:, labelled], true_codes[name][labelled]) if len(labelled) else None
            means[name] = mean_probabilities(list(task_parts[:, others]), weights)
            fold_means[name] = mean_probabilities(list(task_parts[:, fold]), weights)
        for name, rule in fit(means, {name: codes[others] for name, codes in true_codes.items()}).items():
            calibrated[name][fold] = rule.calibrated(fold_means[name])
            answers[name][fold] = rule.answers(calibrated[name][fold])
    return calibrated, answers
