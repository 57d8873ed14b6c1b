"""The losses of heads with one output per class, by the names that `train.loss` gives them.

logits (N, C) and targets (N, C) -> () loss. A row of targets is one-hot, or a mixture where two samples were mixed,
times the weight of the sample: it adds up to that weight, and to 0 where there is no label.

To add a loss, write a function of logits and targets here, add it to LOSSES, and add its name to `TrainConfig.loss` in
classify/config.py. A test compares the two lists of names.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from classify.config import TrainConfig
from classify.models.targets import TINY

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Weighted mean over the batch: -sum(t * log p) / sum(t), with p = softmax(logits) and t = targets.

    >>> round(cross_entropy(Tensor([[0, 0], [0, 0]]), Tensor([[1, 0], [0, 1]])).item(), 4)  # log 2: p is 0.5 throughout
    0.6931
    """
    return -(targets * logits.log_softmax(dim=1)).sum() / targets.sum().clamp_min(TINY)


def focal_loss(logits: Tensor, targets: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Cross-entropy that counts confident classes less: -sum(t * (1 - p) ** gamma * log p) / sum(t).

    Source: Lin et al., "Focal Loss for Dense Object Detection", 2017, equation 4, without class weights.

    >>> round(focal_loss(Tensor([[0, 0]]), Tensor([[1, 0]])).item(), 4)  # log(2) / 4
    0.1733
    """
    log_p = logits.log_softmax(dim=1)
    # Kept from 0, where the slope of a power below 1 is infinite.
    doubt = (1 - log_p.exp()).clamp_min(TINY)
    return -(targets * doubt**gamma * log_p).sum() / targets.sum().clamp_min(TINY)


def soft_f1_loss(logits: Tensor, targets: Tensor, *, eps: float = 1e-7) -> Tensor:
    """One minus the macro-averaged F1 of a batch, with probabilities in place of counts.

    Per class, true positives are sum(t * p), false positives sum((w - t) * p) and false negatives sum(t * (1 - p)),
    where w is the weight of the row; F1 = 2 * precision * recall / (precision + recall). `eps` avoids a division by 0
    for a class that is absent from the batch. In [0, 1]; 0 if all classes are there, and all rows certain and right.

    Source: Bénédict et al., "sigmoidF1", 2021, section 3; softmax in place of sigmoid.

    >>> round(soft_f1_loss(Tensor([[0, 0], [0, 0]]), Tensor([[1, 0], [0, 1]])).item(), 4)  # precision = recall = 0.5
    0.5
    """
    p = logits.softmax(dim=1)
    true_positives = (targets * p).sum(dim=0)
    false_positives = ((targets.sum(dim=1, keepdim=True) - targets) * p).sum(dim=0)
    false_negatives = (targets * (1 - p)).sum(dim=0)
    precision = true_positives / (true_positives + false_positives + eps)
    recall = true_positives / (true_positives + false_negatives + eps)
    f1 = 2 * precision * recall / (precision + recall + eps)
    return 1 - f1.clamp(eps, 1 - eps).mean()


def soft_f1_and_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The sum of `soft_f1_loss` and `cross_entropy`.

    >>> round(soft_f1_and_cross_entropy(Tensor([[0, 0], [0, 0]]), Tensor([[1, 0], [0, 1]])).item(), 4)  # 0.5 + log 2
    1.1931
    """
    return soft_f1_loss(logits, targets) + cross_entropy(logits, targets)


def label_smoothing_loss(logits: Tensor, targets: Tensor, *, smoothing: float = 0.1) -> Tensor:
    """Cross-entropy with targets t * (1 - smoothing) + (w - t) * smoothing / (C - 1), where w is the row's weight.

    Source: Szegedy et al., "Rethinking the Inception Architecture", 2016, section 7; over the C - 1 other classes.

    >>> round(label_smoothing_loss(Tensor([[0.9, 0.1]]).log(), Tensor([[1, 0]])).item(), 4)  # the entropy of p
    0.3251
    """
    others = (targets.sum(dim=1, keepdim=True) - targets) / (targets.shape[1] - 1)
    return cross_entropy(logits, targets * (1 - smoothing) + others * smoothing)


# Name in `train.loss` -> a function that gives the loss its parameters from the settings.
LOSSES: dict[str, Callable[[TrainConfig], Loss]] = {
    "ce": lambda train: cross_entropy,
    "focal": lambda train: partial(focal_loss, gamma=train.gamma),
    "f1": lambda train: soft_f1_loss,
    "f1_ce": lambda train: soft_f1_and_cross_entropy,
    "label_smoothing": lambda train: partial(label_smoothing_loss, smoothing=train.smoothing),
}
