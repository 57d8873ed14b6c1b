"""Weights of an ensemble's members, on drawn probabilities."""

import numpy as np
import pytest

from classify.inference.calibration import log_loss
from classify.inference.decision import DecisionRule, mean_probabilities
from classify.inference.ensemble_weights import cross_fit, equal_weights, fit_weights

PHOTOS = 600


def drawn(*sharpness, seed=0):
    """Members whose probabilities lean to the truth by `sharpness`, each with its own errors: (K, N, 3) and (N,)."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, PHOTOS)
    logits = [sharp * np.eye(3)[truth] + rng.normal(size=(PHOTOS, 3)) for sharp in sharpness]
    parts = np.stack([np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) for z in logits]).astype(np.float32)
    return parts, truth


def loss_of(parts, truth, weights):
    return log_loss(mean_probabilities(list(parts), weights), truth)


def test_weights_have_the_smallest_log_loss_on_a_grid():
    parts, truth = drawn(1.0, 1.5, 2.0)
    weights = fit_weights(parts, truth)
    assert sum(weights) == pytest.approx(1)
    assert min(weights) >= 0
    grid = [(a, b, 1 - a - b) for a in np.linspace(0, 1, 21) for b in np.linspace(0, 1 - a, 21)]
    assert loss_of(parts, truth, weights) <= min(loss_of(parts, truth, point) for point in grid) + 1e-6


def test_a_member_that_knows_nothing_gets_no_weight():
    parts, truth = drawn(2.0, 2.0)
    parts = np.concatenate([parts, np.random.default_rng(1).dirichlet([0.5] * 3, PHOTOS)[None].astype(np.float32)])
    weights = fit_weights(parts, truth)
    assert weights[2] < 0.02
    assert weights[0] == pytest.approx(0.5, abs=0.15)


def test_no_person_is_predicted_with_weights_that_were_fitted_to_them():
    parts, truth = drawn(1.0, 1.0)
    people = [str(row // 6) for row in range(PHOTOS)]
    weighed = []

    def weigh(some, codes):
        weighed.append(some)
        return equal_weights(some, codes)

    rules = {"face": DecisionRule()}
    calibrated, codes = cross_fit({"face": parts}, {"face": truth}, people, lambda *_: rules, weigh)
    predicted, answers = calibrated["face"], codes["face"]
    assert predicted == pytest.approx(mean_probabilities(list(parts)))
    assert answers.tolist() == predicted.argmax(axis=1).tolist()
    assert [some.shape[1] for some in weighed] == [480] * 5
    rows = [{row.tobytes() for row in some.swapaxes(0, 1)} for some in weighed]
    assert not set.intersection(*rows), "every photo is left out once"


def test_unlabelled_photos_are_predicted_but_not_fitted_to():
    parts, truth = drawn(1.0, 2.0)
    people = [str(row) for row in range(PHOTOS)]
    some = np.where(np.arange(PHOTOS) % 2, truth, -1)
    counted = []

    def weigh(some_parts, codes):
        counted.append((some_parts.shape[1], codes.min()))
        return fit_weights(some_parts, codes)

    rules = {"face": DecisionRule()}
    predicted, _ = cross_fit({"face": parts}, {"face": some}, people, lambda *_: rules, weigh)
    assert len(predicted["face"]) == PHOTOS
    assert sum(number for number, _ in counted) == 4 * PHOTOS // 2
    assert min(least for _, least in counted) == 0
