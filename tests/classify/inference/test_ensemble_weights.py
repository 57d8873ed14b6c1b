"""Weights of voters, on drawn probabilities."""

import numpy as np
import pytest

from classify.inference.decision import DecisionRule, vote
from classify.inference.ensemble_weights import cross_fit_ensemble, equal_weights, fit_weights, log_loss

PHOTOS = 600


def drawn(*sharpness, seed=0):
    """Voters whose probabilities lean to the truth by `sharpness`, each with errors of its own: (K, N, 3) and (N,)."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, PHOTOS)
    logits = [sharp * np.eye(3)[truth] + rng.normal(size=(PHOTOS, 3)) for sharp in sharpness]
    parts = np.stack([np.exp(one) / np.exp(one).sum(axis=1, keepdims=True) for one in logits]).astype(np.float32)
    return parts, truth


def loss_of(parts, truth, weights):
    return log_loss(vote(list(parts), weights), truth)


def test_weights_have_the_smallest_log_loss_on_a_grid():
    parts, truth = drawn(1.0, 1.5, 2.0)
    weights = fit_weights(parts, truth)
    assert sum(weights) == pytest.approx(1)
    assert min(weights) >= 0
    grid = [(a, b, 1 - a - b) for a in np.linspace(0, 1, 21) for b in np.linspace(0, 1 - a, 21)]
    assert loss_of(parts, truth, weights) <= min(loss_of(parts, truth, one) for one in grid) + 1e-6


def test_a_voter_that_knows_nothing_gets_no_weight():
    parts, truth = drawn(2.0, 2.0)
    parts = np.concatenate([parts, np.random.default_rng(1).dirichlet([0.5] * 3, PHOTOS)[None].astype(np.float32)])
    weights = fit_weights(parts, truth)
    assert weights[2] < 0.02
    assert weights[0] == pytest.approx(0.5, abs=0.15)


def test_no_person_is_told_by_weights_that_were_fitted_to_them():
    parts, truth = drawn(1.0, 1.0)
    people = [str(row // 6) for row in range(PHOTOS)]
    seen = []

    def weigh(some, codes):
        seen.append(some)
        return equal_weights(some, codes)

    told, answers = cross_fit_ensemble(parts, truth, people, weigh, lambda *_: DecisionRule())
    assert told == pytest.approx(vote(list(parts)))
    assert answers.tolist() == told.argmax(axis=1).tolist()
    assert [some.shape[1] for some in seen] == [480] * 5
    rows = [{one.tobytes() for one in some.swapaxes(0, 1)} for some in seen]
    assert not set.intersection(*rows), "every photo is left out once"


def test_unlabelled_photos_are_told_but_not_fitted_to():
    parts, truth = drawn(1.0, 2.0)
    people = [str(row) for row in range(PHOTOS)]
    some = np.where(np.arange(PHOTOS) % 2, truth, -1)
    counted = []

    def fit(mean, codes):
        counted.append((len(mean), codes.min()))
        return DecisionRule()

    told, _ = cross_fit_ensemble(parts, some, people, fit_weights, fit)
    assert len(told) == PHOTOS
    assert sum(number for number, _ in counted) == 4 * PHOTOS // 2
    assert min(least for _, least in counted) == 0
