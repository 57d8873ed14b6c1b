"""The losses against their written definitions, on small numbers."""

from typing import get_args

import numpy as np
import pytest
import torch

from classify.config import TrainConfig
from classify.models.losses import LOSSES, cross_entropy, focal_loss, label_smoothing_loss, soft_f1_loss

LOGITS = torch.tensor([[2.0, 0.5, -1.0], [0.1, 0.2, 0.3], [-2.0, 1.0, 1.5], [0.0, 3.0, 0.0]])
LABELS = torch.tensor([0, 2, 1, 1])
TARGETS = torch.eye(3)[LABELS]


def test_cross_entropy_is_torchs():
    assert cross_entropy(LOGITS, TARGETS).item() == pytest.approx(
        torch.nn.functional.cross_entropy(LOGITS, LABELS).item()
    )


def test_focal_without_focus_is_cross_entropy_and_with_it_counts_sure_rows_less():
    assert focal_loss(LOGITS, TARGETS, gamma=0).item() == pytest.approx(cross_entropy(LOGITS, TARGETS).item())
    p = LOGITS.softmax(1)[torch.arange(4), LABELS]
    assert focal_loss(LOGITS, TARGETS, gamma=2).item() == pytest.approx((-((1 - p) ** 2) * p.log()).mean().item())


def test_label_smoothing_gives_the_share_to_the_other_classes():
    expected = torch.full((4, 3), 0.05)
    expected[torch.arange(4), LABELS] = 0.9
    by_hand = -(expected * LOGITS.log_softmax(1)).sum(1).mean()
    assert label_smoothing_loss(LOGITS, TARGETS, smoothing=0.1).item() == pytest.approx(by_hand.item())


def test_soft_f1_is_one_minus_the_macro_average_of_soft_counts():
    p, y = LOGITS.softmax(1).numpy(), TARGETS.numpy()
    scores = []
    for c in range(3):
        tp, fp, fn = (y[:, c] * p[:, c]).sum(), ((1 - y[:, c]) * p[:, c]).sum(), (y[:, c] * (1 - p[:, c])).sum()
        precision, recall = tp / (tp + fp), tp / (tp + fn)
        scores.append(2 * precision * recall / (precision + recall))
    assert soft_f1_loss(LOGITS, TARGETS).item() == pytest.approx(1 - np.mean(scores), abs=1e-5)


def test_soft_f1_of_a_certain_and_right_batch_is_zero_and_of_a_wrong_one_is_one():
    assert soft_f1_loss(TARGETS * 100, TARGETS).item() == pytest.approx(0, abs=1e-4)
    assert soft_f1_loss(TARGETS.roll(1, dims=1) * 100, TARGETS).item() == pytest.approx(1, abs=1e-4)


def test_the_config_and_the_losses_have_the_same_names():
    assert set(get_args(TrainConfig.model_fields["loss"].annotation)) == set(LOSSES)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_of_the_config_goes_down_when_it_is_followed(name):
    logits = LOGITS.clone().requires_grad_()
    loss = LOSSES[name](TrainConfig(loss=name))
    before = loss(logits, TARGETS)
    before.backward()
    assert loss(logits - 0.1 * logits.grad, TARGETS) < before


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.99, 1.0, 2.0])
@pytest.mark.parametrize("scale", [1.0, 30.0, 1000.0])
def test_every_loss_has_a_finite_slope_however_certain_the_network_is(name, gamma, scale):
    logits = (TARGETS * scale - TARGETS.roll(1, dims=1)).requires_grad_()
    loss = LOSSES[name](TrainConfig(loss=name, gamma=gamma))
    for targets in (TARGETS, TARGETS.roll(1, dims=1)):
        value = loss(logits, targets)
        assert torch.isfinite(value)
        [slope] = torch.autograd.grad(value, logits)
        assert torch.isfinite(slope).all()
