"""The losses against their written definitions, on small numbers."""

import numpy as np
import pytest
import torch

from classify.config import TrainConfig
from classify.models.losses import cross_entropy, focal_loss, label_smoothing_loss, loss_of, soft_f1_loss

LOGITS = torch.tensor([[2.0, 0.5, -1.0], [0.1, 0.2, 0.3], [-2.0, 1.0, 1.5], [0.0, 3.0, 0.0]])
LABELS = torch.tensor([0, 2, 1, 1])
SHARES = torch.eye(3)[LABELS]


def test_cross_entropy_is_torchs():
    assert cross_entropy(LOGITS, SHARES).item() == pytest.approx(
        torch.nn.functional.cross_entropy(LOGITS, LABELS).item()
    )


def test_focal_without_focus_is_cross_entropy_and_with_it_counts_sure_rows_less():
    assert focal_loss(LOGITS, SHARES, gamma=0).item() == pytest.approx(cross_entropy(LOGITS, SHARES).item())
    p = LOGITS.softmax(1)[torch.arange(4), LABELS]
    assert focal_loss(LOGITS, SHARES, gamma=2).item() == pytest.approx((-((1 - p) ** 2) * p.log()).mean().item())


def test_label_smoothing_gives_the_share_to_the_other_classes():
    expected = torch.full((4, 3), 0.05)
    expected[torch.arange(4), LABELS] = 0.9
    by_hand = -(expected * LOGITS.log_softmax(1)).sum(1).mean()
    assert label_smoothing_loss(LOGITS, SHARES, smoothing=0.1).item() == pytest.approx(by_hand.item())


def test_soft_f1_is_one_minus_the_macro_average_of_soft_counts():
    p, y = LOGITS.softmax(1).numpy(), SHARES.numpy()
    scores = []
    for c in range(3):
        tp, fp, fn = (y[:, c] * p[:, c]).sum(), ((1 - y[:, c]) * p[:, c]).sum(), (y[:, c] * (1 - p[:, c])).sum()
        precision, recall = tp / (tp + fp), tp / (tp + fn)
        scores.append(2 * precision * recall / (precision + recall))
    assert soft_f1_loss(LOGITS, SHARES).item() == pytest.approx(1 - np.mean(scores), abs=1e-5)


def test_soft_f1_of_a_certain_and_right_batch_is_zero_and_of_a_wrong_one_is_one():
    assert soft_f1_loss(SHARES * 100, SHARES).item() == pytest.approx(0, abs=1e-4)
    assert soft_f1_loss(SHARES.roll(1, dims=1) * 100, SHARES).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", ["ce", "focal", "f1", "f1_ce", "label_smoothing"])
def test_every_loss_of_the_config_goes_down_when_it_is_followed(name):
    logits = LOGITS.clone().requires_grad_()
    loss = loss_of(TrainConfig(loss=name))
    before = loss(logits, SHARES)
    before.backward()
    assert loss(logits - 0.1 * logits.grad, SHARES) < before
