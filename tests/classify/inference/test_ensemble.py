"""The mean of several bundles, on small numbers."""

import numpy as np
import pytest

from classify.inference.bundle import Bundle
from classify.inference.decision import DecisionRule
from classify.inference.ensemble import Ensemble
from classify.tasks import Task

BUNDLE = Bundle((Task("smile", ("no", "yes")),), (), {}, {}, 0, flip=False)
SURE = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)


def mean(ensemble, other, read_by_other):
    return ensemble.mean("smile", [SURE, np.array(other, np.float32)], [np.array([0, 2]), np.array(read_by_other)], 3)


def test_weights_count_and_a_photo_is_told_by_the_bundles_that_read_it():
    ensemble = Ensemble((BUNDLE, BUNDLE), {"smile": (0.75, 0.25)})
    assert mean(ensemble, [[0.5, 0.5], [1, 0]], [0, 2]) == pytest.approx(np.array([[0.8, 0.2], [0.4, 0.6]]))
    assert mean(ensemble, [[0.5, 0.5], [1, 0]], [0, 1]) == pytest.approx(np.array([[0.8, 0.2], [0.2, 0.8]]))


def test_a_bundle_without_weight_tells_what_no_other_reads():
    ensemble = Ensemble((BUNDLE, BUNDLE), {"smile": (0.0, 1.0)})
    told = mean(ensemble, [[0.5, 0.5]], [0])
    assert told == pytest.approx(np.array([[0.5, 0.5], [0.2, 0.8]]))


def test_the_temperature_is_that_of_the_mean():
    ensemble = Ensemble((BUNDLE, BUNDLE), {}, {"smile": DecisionRule(temperature=2.0)})
    told = mean(ensemble, SURE, [0, 2])
    roots = np.sqrt(SURE)
    assert told == pytest.approx(roots / roots.sum(axis=1, keepdims=True), abs=1e-6)
