"""Heads for ordered classes, with one output per border between two classes: is the sample above it?

outputs (N, C - 1) -> a loss, and the probabilities (N, C) of the classes between the borders.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from classify.models.targets import TINY, Codes, Numbers, Targets, one_hot
from classify.tasks import Task


@dataclass(frozen=True)
class OrdinalHead:
    """One output per border: the log-odds that the class is above it, given that it is not below it.

    Source: Shi et al., "Deep Neural Networks for Rank-Consistent Ordinal Regression Based On Conditional
    Probabilities" (CORN), 2021.
    """

    task: Task
    outputs: int
    columns: int
    weight: float
    class_weights: Targets  # (C,)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The one task that it predicts."""
        return (self.task,)

    def encode(self, codes: Codes, numbers: Numbers) -> Targets:
        """One-hot rows."""
        return one_hot(codes[:, 0], len(self.task.classes)) * self.class_weights[codes[:, 0]][:, None]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy at each border over the rows that are not below it."""
        at_least = targets.flip(1).cumsum(1).flip(1)
        reached, above = at_least[:, :-1], at_least[:, 1:]
        entropy = -(above * logsigmoid(outputs) + (reached - above) * logsigmoid(-outputs))
        return entropy.sum() / targets.sum().clamp_min(TINY)

    def probabilities(self, outputs: Tensor) -> list[Tensor]:
        """Differences between the probabilities of being above successive borders, products of the conditional ones."""
        return [_class_probabilities(_running(torch.mul, outputs.sigmoid()))]


@dataclass(frozen=True)
class CoralHead(OrdinalHead):
    """One output per border: the log-odds that the class is above it. The outputs differ only in their biases.

    Source: Cao, Mirjalili and Raschka, "Rank Consistent Ordinal Regression for Neural Networks with Application to Age
    Estimation" (CORAL), 2020.
    """

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy at each border over all rows."""
        weights = targets.sum(dim=1, keepdim=True)
        above = targets.flip(1).cumsum(1).flip(1)[:, 1:]
        entropy = -(above * logsigmoid(outputs) + (weights - above) * logsigmoid(-outputs))
        return entropy.sum() / weights.sum().clamp_min(TINY)

    def probabilities(self, outputs: Tensor) -> list[Tensor]:
        """Differences between the probabilities of being above successive borders."""
        # Once trained, the probabilities fall from border to border anyway.
        return [_class_probabilities(_running(torch.minimum, outputs.sigmoid()))]


def _running(step: Callable[[Tensor, Tensor], Tensor], values: Tensor) -> Tensor:
    """Accumulate along each row, as cumprod and cummin do; other runtimes than torch have neither of them."""
    return torch.stack(list(accumulate(values.unbind(dim=1), step)), dim=1)


def _class_probabilities(above: Tensor) -> Tensor:
    """Probabilities (N, C - 1) of being above each border, which never rise -> probabilities (N, C) of the classes."""
    # Not from len(above): a conversion would take the number of rows for a constant.
    at_least = torch.cat([torch.ones_like(above[:, :1]), above, torch.zeros_like(above[:, :1])], dim=1)
    return at_least[:, :-1] - at_least[:, 1:]
