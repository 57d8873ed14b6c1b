import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from cache.errors import UsageError
from classify.config import TaskConfig
from classify.models.heads import build_heads
from classify.training import last_layer
from classify.training.last_layer import PENALTIES, fit_last_layer

AGES = {"classes": ["<30", "30-59", ">=60"], "edges": [30, 60], "range": [0, 80]}
WORN = {"classes": ["wear", "incorrect", "normal"]}


def heads_of(*configs):
    configs = [TaskConfig.model_validate(config) for config in configs]
    return build_heads([config.task(f"task{i}") for i, config in enumerate(configs)], configs)


def drawn(photos=400, features=20, noise=1.0, seed=0):
    """Correlated features of very different scales, and ages that depend on them; four photos of each person."""
    rng = np.random.default_rng(seed)
    people = np.arange(photos) // 4
    hidden = rng.normal(size=(photos // 4, 5))[people] + 0.5 * rng.normal(size=(photos, 5))
    values = hidden @ rng.normal(size=(5, features)) + 0.3 * rng.normal(size=(photos, features))
    values = values * np.geomspace(0.01, 100, features) + 3
    ages = np.clip(40 + 15 * hidden[:, 0] + noise * 8 * rng.normal(size=photos // 4)[people], 0, 80).round()
    return torch.from_numpy(values).float(), ages, people


def encode(heads, ages):
    codes = np.digitize(ages, [30, 60])
    return torch.from_numpy(
        heads.encode(np.stack([codes] * len(heads.parts), 1), np.stack([ages] * len(heads.parts), 1))
    )


def outputs(layer, features):
    return features @ layer.weight.T + layer.bias


def test_it_is_the_optimum_that_logistic_regression_finds(monkeypatch):
    monkeypatch.setattr(last_layer, "PENALTIES", (0.01,))
    features, ages, _ = drawn()
    heads = heads_of(WORN)
    one_person = np.zeros(len(ages), int)  # no choice of the penalty
    layer = fit_last_layer(features.clone(), encode(heads, ages), heads, one_person)
    scaled = ((features - features.mean(0)) / features.std(0, correction=0)).double().numpy()
    expected = LogisticRegression(C=1 / (2 * 0.01 * len(ages)), max_iter=5000, tol=1e-8)
    expected.fit(scaled, np.digitize(ages, [30, 60]))
    [predicted] = heads.probabilities(outputs(layer, features))
    assert np.abs(predicted.numpy() - expected.predict_proba(scaled)).max() < 0.003


def test_each_task_has_the_penalty_that_suits_people_who_are_new():
    features, ages, people = drawn(noise=0)
    heads = heads_of(WORN, WORN)
    targets = encode(heads, ages)
    guesses = np.random.default_rng(1).integers(0, 3, 100)[people]  # nothing to learn from the features
    targets[:, 3:] = torch.from_numpy(np.eye(3, dtype=np.float32)[guesses])
    penalties = fit_last_layer(features, targets, heads, people).penalties
    assert penalties["task0"] < PENALTIES[0] / 50
    assert penalties["task1"] > PENALTIES[0] / 2


def test_a_row_counts_as_often_as_its_weight_says_and_without_a_label_for_nothing():
    features, ages, people = drawn()
    heads = heads_of(WORN)
    targets = encode(heads, ages)
    expected = fit_last_layer(features.clone(), targets, heads, people)
    # The same photos twice: once with twice the weight, then without a label.
    twice, weighted = torch.cat([features, features]), torch.cat([2 * targets, 0 * targets])
    layer = fit_last_layer(twice, weighted, heads, np.concatenate([people, people]))
    assert layer.penalties == expected.penalties
    assert torch.allclose(outputs(layer, features), outputs(expected, features), atol=0.02)
    heavier = targets.clone()
    heavier[targets[:, 2] > 0] *= 5
    layer = fit_last_layer(features.clone(), heavier, heads, people)
    plain, raised = (heads.probabilities(outputs(fit, features))[0][:, 2].mean() for fit in (expected, layer))
    assert raised > plain + 0.05


@pytest.mark.parametrize(
    "head",
    [{}, {"kind": "ordinal"}, {"kind": "coral"}, {"kind": "years", "spread": 3, "bins_loss": 1, "number_loss": 1}],
)
def test_every_kind_of_head_is_fitted_and_predicts_new_people(head):
    heads = heads_of({**AGES, "head": head})
    features, ages, people = drawn(photos=800, noise=0.2)
    layer = fit_last_layer(features[:600].clone(), encode(heads, ages)[:600], heads, people[:600])
    [predicted] = heads.probabilities(outputs(layer, features[600:]))
    assert (predicted.argmax(1).numpy() == np.digitize(ages[600:], [30, 60])).mean() > 0.8
    if head.get("kind") == "coral":
        assert torch.equal(layer.weight[0], layer.weight[1])
        assert layer.bias[0] > layer.bias[1]


def test_features_that_never_vary_do_no_harm_and_those_that_are_not_finite_are_named():
    features, ages, people = drawn()
    heads = heads_of(WORN)
    layer = fit_last_layer(torch.cat([features, torch.full((400, 1), 7.0)], 1), encode(heads, ages), heads, people)
    assert torch.isfinite(layer.weight).all()
    features[3, 2] = torch.inf
    with pytest.raises(UsageError, match="not finite"):
        fit_last_layer(features, encode(heads, ages), heads, people)
