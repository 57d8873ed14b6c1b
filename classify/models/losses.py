"""The losses that a task can learn with, by the names that the config gives them.

logits (N, C) and class shares (N, C) -> () loss. A row of shares is one-hot, or a mixture where two samples were mixed,
times what the sample counts: it adds up to the sample's weight, and to 0 where there is no label.
"""

from collections.abc import Callable

from torch import Tensor

from classify.config import TrainConfig

Loss = Callable[[Tensor, Tensor], Tensor]
TINY = 1e-7


def cross_entropy(logits: Tensor, shares: Tensor) -> Tensor:
    """Weighted mean over the batch of -sum(share * log p)."""
    return -(shares * logits.log_softmax(dim=1)).sum() / shares.sum().clamp_min(TINY)


def focal_loss(logits: Tensor, shares: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Cross-entropy in which a class already told with probability p counts (1 - p) ** gamma as much.

    Source: Lin et al., "Focal Loss for Dense Object Detection", 2017, equation 4, without class weights.
    """
    log_p = logits.log_softmax(dim=1)
    return -(shares * (1 - log_p.exp()) ** gamma * log_p).sum() / shares.sum().clamp_min(TINY)


def soft_f1_loss(logits: Tensor, shares: Tensor, *, eps: float = 1e-7) -> Tensor:
    """One minus the macro-averaged F1 of a batch, with probabilities in place of counts.

    Args:
        logits: (N, C) float, unnormalised.
        shares: (N, C) float, rows that add up to the sample's weight.
        eps: keeps a class that is absent from the batch from dividing by zero.

    Returns:
        () float in [0, 1]; 0 when every class is in the batch and every row is certain and right.

    Source: Bénédict et al., "sigmoidF1", 2021, section 3; softmax in place of sigmoid.
    """
    p = logits.softmax(dim=1)
    hit = (shares * p).sum(dim=0)
    false_alarm = ((shares.sum(dim=1, keepdim=True) - shares) * p).sum(dim=0)
    miss = (shares * (1 - p)).sum(dim=0)
    precision = hit / (hit + false_alarm + eps)
    recall = hit / (hit + miss + eps)
    f1 = 2 * precision * recall / (precision + recall + eps)
    return 1 - f1.clamp(eps, 1 - eps).mean()


def label_smoothing_loss(logits: Tensor, shares: Tensor, *, smoothing: float = 0.1) -> Tensor:
    """Cross-entropy whose target gives `smoothing` away, in equal parts to the classes that are not the true one.

    Source: Szegedy et al., "Rethinking the Inception Architecture", 2016, section 7; over the C - 1 other classes.
    """
    others = (shares.sum(dim=1, keepdim=True) - shares) / (shares.shape[1] - 1)
    return cross_entropy(logits, shares * (1 - smoothing) + others * smoothing)


def loss_of(train: TrainConfig) -> Loss:
    """The loss that the config names, with its parameters."""
    choices: dict[str, Loss] = {
        "ce": cross_entropy,
        "focal": lambda logits, shares: focal_loss(logits, shares, gamma=train.gamma),
        "f1": soft_f1_loss,
        "f1_ce": lambda logits, shares: soft_f1_loss(logits, shares) + cross_entropy(logits, shares),
        "label_smoothing": lambda logits, shares: label_smoothing_loss(logits, shares, smoothing=train.smoothing),
    }
    return choices[train.loss]
