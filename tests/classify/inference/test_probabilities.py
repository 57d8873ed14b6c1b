import numpy as np
import pytest
import torch

from classify.inference.probabilities import probabilities
from classify.models.backbones import build_network, normalise_of
from tests.classify.conftest import plan, task_config

PLAN = plan(task_config())


@pytest.mark.parametrize("flip", [False, True])
def test_rows_are_predicted_in_their_order_and_as_among_all(halves, flip):
    torch.manual_seed(0)
    network = build_network(PLAN.model, 2, pretrained=False)
    arguments = (network, PLAN.heads, halves.pixels, normalise_of(network), "cpu")
    [everything] = probabilities(*arguments, flip=flip)
    rows = np.array([60, 3, 3, 41])
    [some] = probabilities(*arguments, flip=flip, rows=rows)
    assert some == pytest.approx(everything[rows], abs=1e-5)
    assert everything.shape == (64, 2)
    [none] = probabilities(*arguments, rows=np.arange(0))
    assert none.shape == (0, 2)


def test_progress_is_reported_after_every_batch(halves):
    network, batches = build_network(PLAN.model, 2, pretrained=False), []
    arguments = (network, PLAN.heads, halves.pixels, normalise_of(network), "cpu")
    probabilities(*arguments, rows=np.arange(64).repeat(2), progress=batches.append)
    assert batches == [64, 64]


def test_the_network_predicts_in_the_fastest_format_and_its_outputs_are_float32(halves, monkeypatch):
    monkeypatch.setattr("classify.inference.probabilities.fastest_precision", lambda device: torch.bfloat16)
    network, formats = build_network(PLAN.model, 2, pretrained=False), []
    network.register_forward_hook(lambda module, inputs, outputs: formats.append(outputs.dtype))
    [predicted] = probabilities(network, PLAN.heads, halves.pixels, normalise_of(network), "cpu")
    assert formats == [torch.bfloat16]
    assert predicted.dtype == np.float32
    assert predicted.sum(axis=1) == pytest.approx(np.ones(64), abs=1e-6)
