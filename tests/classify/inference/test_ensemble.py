"""The mean of several bundles, on small numbers."""

import json

import numpy as np
import pytest

from classify.inference.bundle import Bundle, save_bundle, trained_network
from classify.inference.decision import DecisionRule
from classify.inference.ensemble import FORMAT, VOTES, Ensemble, digest_of, load_ensemble
from classify.models.backbones import build_network
from classify.tasks import Task
from tests.classify.conftest import plan, task_config

BUNDLE = Bundle((Task("smile", ("no", "yes")),), (), {}, {}, 0, flip=False)
SURE = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)


def mean(ensemble, other, read_by_other):
    return ensemble.mean("smile", [SURE, np.array(other, np.float32)], [np.array([0, 2]), np.array(read_by_other)], 3)


def test_weights_count_and_a_photo_is_predicted_by_the_bundles_that_read_it():
    ensemble = Ensemble((BUNDLE, BUNDLE), {"smile": (0.75, 0.25)})
    assert mean(ensemble, [[0.5, 0.5], [1, 0]], [0, 2]) == pytest.approx(np.array([[0.8, 0.2], [0.4, 0.6]]))
    assert mean(ensemble, [[0.5, 0.5], [1, 0]], [0, 1]) == pytest.approx(np.array([[0.8, 0.2], [0.2, 0.8]]))


def test_a_bundle_without_weight_predicts_what_no_other_reads():
    ensemble = Ensemble((BUNDLE, BUNDLE), {"smile": (0.0, 1.0)})
    predicted = mean(ensemble, [[0.5, 0.5]], [0])
    assert predicted == pytest.approx(np.array([[0.5, 0.5], [0.2, 0.8]]))


def test_the_temperature_is_that_of_the_mean():
    ensemble = Ensemble((BUNDLE, BUNDLE), {}, {"smile": DecisionRule(temperature=2.0)})
    predicted = mean(ensemble, SURE, [0, 2])
    roots = np.sqrt(SURE)
    assert predicted == pytest.approx(roots / roots.sum(axis=1, keepdims=True), abs=1e-6)


def test_a_votes_json_of_the_first_format_is_read(tmp_path):
    half = plan(task_config())
    network = trained_network(half, half.name, build_network(half.model, half.heads.outputs, pretrained=False))
    save_bundle(tmp_path / "bundle", Bundle(half.tasks, (network,), {}, {}, 0, flip=False))
    content = {
        "format": FORMAT,
        "bundles": [{"path": "bundle", "sha256": digest_of(tmp_path / "bundle")}],
        "weights": {"half": [1.0]},
        "decision_rules": {"half": DecisionRule(1.5, (1.0, 0.5), 0.6).as_json()},
    }
    (tmp_path / VOTES).write_text(json.dumps(content))
    today = load_ensemble([tmp_path])
    content["verdicts"] = content.pop("decision_rules")
    (tmp_path / VOTES).write_text(json.dumps({**content, "format": 1}))
    old = load_ensemble([tmp_path])
    assert (old.weights, old.decision_rules) == (today.weights, today.decision_rules)
    assert old.decision_rule("half").unsure_below == 0.6
