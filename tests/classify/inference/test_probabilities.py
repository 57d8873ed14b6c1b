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
