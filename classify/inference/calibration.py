"""Fit temperatures to held-out photos, and measure how well probabilities are calibrated.

held-out probabilities (N, C) and true class indices (N,) -> a temperature; with answers -> expected calibration error.
"""

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from classify.evaluation.metrics import Codes
from classify.inference.decision import TINY, DecisionRule, Probabilities

BINS = 15
LOWEST, HIGHEST = 0.1, 10.0  # temperature
# Of a single network's temperature, the share that no number of networks takes away, where it could not be measured.
# In simulations it removes a third of the calibration error where errors have a correlation of 0.3, more at 0.5 and 0.7
# and nothing is lost at 0.85. Networks trained on real faces had 0.68 to 0.95 (docs/experiments.md).
ASSUMED_SHARE = 0.7


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

    result: Any = minimize_scalar(loss, bounds=(float(np.log(LOWEST)), float(np.log(HIGHEST))), method="bounded")
    return round(float(np.exp(result.x)), 4)


def temperature_of_mean(single: float, mean: float, networks: int, voting: int) -> float:
    """The temperature of the mean of `voting` networks, where held-out photos have the mean of fewer `networks`.

    The mean of k networks is less sure than each of them wherever they disagree, so it needs a lower temperature:

        T(k) = a + b / k.

    b belongs to the part of the errors that differs from network to network, of which a mean of k keeps 1/k, and a to
    the part that they share. T(1) and T(networks) give a and b. When there is a single network, nothing can be
    measured, and a is assumed to be 0.7 T(1).

    If logits were averaged, T(k)^2 would be linear in 1/k, like the variance of their errors. But probabilities are
    averaged, in which each disagreement counts for itself: there, T^2 extrapolates to far too low temperatures, while
    the T above misses the fitted temperature by a few percent (tests/classify/inference/test_calibration.py).

    Args:
        single: T(1), fitted to the photos' probabilities by single networks.
        mean: T(networks), fitted to the mean of each photo's `networks`.
        networks: how many networks that have not seen the person predicted each held-out photo.
        voting: how many predict a new photo.

    >>> temperature_of_mean(single=2.0, mean=1.5, networks=2, voting=4)  # a = 1, b = 1
    1.25
    >>> temperature_of_mean(single=2.0, mean=2.0, networks=1, voting=4)  # a = 1.4, b = 0.6
    1.55
    """
    if networks == 1:
        return max(round(single * (ASSUMED_SHARE + (1 - ASSUMED_SHARE) / voting), 4), LOWEST)
    # a is not negative, and a larger mean is not less sure of what is true.
    b = float(np.clip((single - mean) / (1 - 1 / networks), 0, networks * mean))
    return max(round(mean - b * (1 / networks - 1 / voting), 4), LOWEST)


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
