"""Confidence that means something: temperatures and factors from held-out probabilities.

held-out votes (N, C) and true class indices (N,) -> Verdict; probabilities and answers -> expected calibration error.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.model_selection import GroupKFold

from classify.evaluation.metrics import macro_f1
from classify.inference.decision import TINY, DecisionRule, Probabilities

Codes = NDArray[np.intp]
BINS = 15
FACTORS = np.geomspace(0.25, 4.0, 17)  # tried for one class at a time; 1 is among them
ROUNDS = 3
PARTS = 5  # of the people, each told by what fits the others


def fit_temperature(votes: Probabilities, truth: Codes) -> float:
    """The temperature with the smallest negative log-likelihood; between 0.1 and 10.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017.
    """

    def loss(log_temperature: float) -> float:
        told = DecisionRule(float(np.exp(log_temperature))).calibrated(votes)
        return float(-np.log(np.clip(told[np.arange(len(truth)), truth], TINY, 1)).mean())

    limit = float(np.log(10))
    found: Any = minimize_scalar(loss, bounds=(-limit, limit), method="bounded")
    return round(float(np.exp(found.x)), 4)


def fit_factors(probabilities: Probabilities, truth: Codes) -> tuple[float, ...]:
    """What to multiply each class's probability by before the largest is taken, for the best macro-F1.

    Coordinate ascent over a grid; a factor moves only where the score rises, so that photos of few people do not decide
    more than they can.
    """
    factors = np.ones(probabilities.shape[1])
    best = macro_f1(truth, probabilities.argmax(axis=1))
    for _ in range(ROUNDS):
        before = best
        for code in range(len(factors)):
            for factor in FACTORS:
                tried = factors.copy()
                tried[code] = factor
                if (scored := macro_f1(truth, (probabilities * tried).argmax(axis=1))) > best + 1e-6:
                    best, factors = scored, tried
        if best <= before:
            break
    return tuple(float(f) for f in np.round(factors / factors.max(), 4))


def fit_decision_rule(
    votes: Probabilities, truth: Codes, *, calibrate: bool, factors: bool, unsure_below: float
) -> DecisionRule:
    """What the settings ask for, fitted to held-out photos."""
    temperature = fit_temperature(votes, truth) if calibrate else 1.0
    told = DecisionRule(temperature).calibrated(votes)
    return DecisionRule(temperature, fit_factors(told, truth) if factors else (), unsure_below)


def cross_fit(
    votes: Probabilities, truth: Codes, people: Sequence[str], fit: Callable[[Probabilities, Codes], DecisionRule]
) -> tuple[Probabilities, Codes]:
    """Probabilities and answers of photos by what was fitted to other people's photos: what a score may be told from.

    Args:
        votes: (N, C).
        truth: (N,), -1 where unlabelled.
        people: the person of each photo.
        fit: votes and truths of labelled photos -> Verdict.

    Returns:
        (N, C) and (N,).
    """
    parts = min(PARTS, len(set(people)))
    told, answers = votes.copy(), votes.argmax(axis=1)
    if parts < 2:
        return told, answers
    for others, own in GroupKFold(parts).split(votes, groups=list(people)):
        labelled = others[truth[others] >= 0]
        if len(labelled):
            decision_rule = fit(votes[labelled], truth[labelled])
            told[own] = decision_rule.calibrated(votes[own])
            answers[own] = decision_rule.answers(told[own])
    return told, answers


def calibration_error(probabilities: Probabilities, truth: Codes, answers: Codes) -> float:
    """How far the answers' probabilities are from the share of right ones, in the mean over 15 bins, by their photos.

    Source: Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", 2015.
    """
    told = probabilities[np.arange(len(truth)), answers]
    bins = np.minimum((told * BINS).astype(np.intp), BINS - 1)
    photos = np.bincount(bins, minlength=BINS)
    gap = np.abs(np.bincount(bins, told, BINS) - np.bincount(bins, answers == truth, BINS))
    return float(gap.sum() / max(photos.sum(), 1))
