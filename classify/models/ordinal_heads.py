"""Heads that ask for every border between classes whether a sample is above it.

outputs, one per border -> a loss, and the chances of the classes between the borders.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from classify.models.targets import TINY, Codes, Numbers, Targets, one_hot
from classify.tasks import Task


@dataclass(frozen=True)
class OrdinalHead:
    """One output per border between classes: is the class above it, given that it reached it?

    Source: Shi et al., "Deep Neural Networks for Rank-Consistent Ordinal Regression Based On Conditional
    Probabilities" (CORN), 2021.
    """

    task: Task
    outputs: int
    columns: int
    weight: float
    class_weights: Targets

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What it tells."""
        return (self.task,)

    def encode(self, codes: Codes, numbers: Numbers) -> Targets:
        """One-hot rows."""
        return one_hot(codes[:, 0], len(self.task.classes)) * self.class_weights[codes[:, 0]][:, None]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy at each border over the rows that reached it."""
        at_least = targets.flip(1).cumsum(1).flip(1)
        reached, above = at_least[:, :-1], at_least[:, 1:]
        wrong = -(above * logsigmoid(outputs) + (reached - above) * logsigmoid(-outputs))
        return wrong.sum() / targets.sum().clamp_min(TINY)

    def probabilities(self, outputs: Tensor) -> list[Tensor]:
        """Differences of the chances to get above each border."""
        return [_between(outputs.sigmoid().cumprod(dim=1))]


@dataclass(frozen=True)
class CoralHead(OrdinalHead):
    """One output per border between classes: is the class above it? All have the same weights, but for their biases.

    Source: Cao, Mirjalili and Raschka, "Rank Consistent Ordinal Regression for Neural Networks with Application to Age
    Estimation" (CORAL), 2020.
    """

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy at each border over all rows."""
        above, whole = targets.flip(1).cumsum(1).flip(1)[:, 1:], targets.sum(dim=1, keepdim=True)
        wrong = -(above * logsigmoid(outputs) + (whole - above) * logsigmoid(-outputs))
        return wrong.sum() / whole.sum().clamp_min(TINY)

    def probabilities(self, outputs: Tensor) -> list[Tensor]:
        """Differences of the chances to be above each border."""
        return [_between(outputs.sigmoid().cummin(dim=1).values)]  # once trained, they fall by themselves


def _between(above: Tensor) -> Tensor:
    """The chances (N, B) to be above each border, never rising -> the chances (N, B + 1) of the classes between."""
    ends = above.new_ones((len(above), 1)), above.new_zeros((len(above), 1))
    reached = torch.cat([ends[0], above, ends[1]], dim=1)
    return reached[:, :-1] - reached[:, 1:]
