"""Fit temperatures and class factors to held-out photos, and measure how well probabilities are calibrated.

held-out probabilities (N, C) and true class indices (N,) -> DecisionRule; with answers -> expected calibration error.
"""

from itertools import product
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from classify.evaluation.metrics import Codes, macro_f1
from classify.inference.decision import TINY, DecisionRule, Probabilities

BINS = 15
FACTORS = np.geomspace(0.25, 4.0, 17)  # tried for one class at a time; 1 is among them
ROUNDS = 3


def fit_temperature(probabilities: Probabilities, true_codes: Codes) -> float:
    """Temperature scaling: find the temperature T in [0.1, 10] with the smallest negative log-likelihood.

    With p the probabilities and y the true class of a photo, T minimises the mean over the photos of

        -log q[y],  q[c] = p[c]^(1/T) / sum over k of p[k]^(1/T),

    which is softmax(logits / T). Above 1, T lowers the confidence, and below 1 it raises it.

    Four predictions with 0.95, of which three are right, should have had 0.75 = 0.95^(1/T) / (0.95^(1/T) + 0.05^(1/T)):

    >>> temperature = fit_temperature(np.array([[0.95, 0.05]] * 4), np.array([0, 0, 0, 1]))
    >>> round(temperature, 2)
    2.68

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017.
    """

    def loss(log_temperature: float) -> float:
        return log_loss(DecisionRule(float(np.exp(log_temperature))).calibrated(probabilities), true_codes)

    limit = float(np.log(10))
    result: Any = minimize_scalar(loss, bounds=(-limit, limit), method="bounded")
    return round(float(np.exp(result.x)), 4)


def fit_factors(probabilities: Probabilities, true_codes: Codes) -> tuple[float, ...]:
    """Find the factors f with the best macro-F1 when the answer is the class c with the largest f[c] * p[c].

    Coordinate ascent over a grid; a factor moves only where the score rises, so that a few photos do not move it for
    nothing. The largest factor is 1.

    The second class never has the largest probability, so the first is counted for less:

    >>> fit_factors(np.array([[0.95, 0.05], [0.9, 0.1], [0.6, 0.4]]), np.array([0, 0, 1]))
    (0.25, 1.0)
    """
    factors = np.ones(probabilities.shape[1])
    best = macro_f1(true_codes, probabilities.argmax(axis=1))
    for _ in range(ROUNDS):
        before = best
        for code, factor in product(range(len(factors)), FACTORS):
            candidate = factors.copy()
            candidate[code] = factor
            score = macro_f1(true_codes, (probabilities * candidate).argmax(axis=1))
            if score > best + 1e-6:
                best, factors = score, candidate
        if best <= before:
            break
    return tuple(float(factor) for factor in np.round(factors / factors.max(), 4))


def fit_decision_rule(
    probabilities: Probabilities, true_codes: Codes, *, calibrate: bool, factors: bool, unsure_below: float
) -> DecisionRule:
    """Fit to held-out photos what the settings request: a temperature, factors, or neither."""
    temperature = fit_temperature(probabilities, true_codes) if calibrate else 1.0
    calibrated = DecisionRule(temperature).calibrated(probabilities)
    return DecisionRule(temperature, fit_factors(calibrated, true_codes) if factors else (), unsure_below)


def calibration_error(probabilities: Probabilities, true_codes: Codes, answers: Codes) -> float:
    """Expected calibration error: the gap between confidence and accuracy, in the mean over 15 bins of confidence.

        ECE = sum over bins b of |b| / N * |accuracy(b) - confidence(b)|

    A photo's confidence is the probability of its answer; bins have equal width, and |b| is the number of photos in b.
    0 is best.

    Ten answers with a confidence of 0.9, of which six are right:

    >>> error = calibration_error(np.array([[0.9, 0.1]] * 10), np.array([0] * 6 + [1] * 4), np.zeros(10, int))
    >>> round(error, 3)
    0.3

    Source: Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", 2015.
    """
    confidence = probabilities[np.arange(len(true_codes)), answers]
    bins = np.minimum((confidence * BINS).astype(np.intp), BINS - 1)
    gap = np.abs(np.bincount(bins, confidence, BINS) - np.bincount(bins, answers == true_codes, BINS))
    return float(gap.sum() / max(len(true_codes), 1))


def log_loss(probabilities: Probabilities, true_codes: Codes) -> float:
    """The mean of -log(probability of the true class) over N labelled photos: (N, C) and (N,) -> 0 or more."""
    return float(-np.log(np.clip(probabilities[np.arange(len(true_codes)), true_codes], TINY, 1)).mean())
