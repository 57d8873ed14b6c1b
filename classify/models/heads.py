"""What the outputs of a network mean: labels become targets; outputs become a loss and probabilities.

class index and, where there is one, the number behind it -> targets (N, T) -> loss; outputs (N, O) -> probabilities.

A row of targets spreads the sample's weight in the loss over classes, or over years; it is zero where the task is not
labelled. Rows can be averaged, so that samples can be mixed.

A new head is a class with the members of Head, built in `_build_head`, and a name in `head.kind` in classify/config.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from classify.config import TaskConfig
from classify.devices import to_device
from classify.models.losses import LOSSES, Loss, cross_entropy
from classify.models.ordinal_heads import CoralHead, OrdinalHead
from classify.models.targets import TINY, Codes, Numbers, Targets, class_targets, joint_targets, year_targets
from classify.tasks import Task


class Head(Protocol):
    """The part of a network's outputs that predicts one task, or the joint class."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that it predicts."""
        ...

    @property
    def outputs(self) -> int:
        """Number of network outputs, O."""
        ...

    @property
    def columns(self) -> int:
        """Number of target columns."""
        ...

    @property
    def weight(self) -> float:
        """Factor of its loss in the sum over the heads."""
        ...

    def encode(self, codes: Codes, numbers: Numbers) -> Targets:
        """(N, T) class indices and numbers of `tasks` -> (N, columns)."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(N, outputs) and (N, columns) -> ()."""
        ...

    def probabilities(self, outputs: Tensor) -> list[Tensor]:
        """(N, outputs) -> (N, C) for each of `tasks`."""
        ...


@dataclass(frozen=True)
class ClassHead:
    """One output per class; with `head.spread`, a label close to an edge is shared between the bins on both sides."""

    task: Task
    config: TaskConfig
    outputs: int
    columns: int
    weight: float
    class_weights: Targets  # (C,)
    task_loss: Loss

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The one task that it predicts."""
        return (self.task,)

    def encode(self, codes: Codes, numbers: Numbers) -> Targets:
        """One-hot rows, or with `head.spread` rows over the bins, times the class weights."""
        head = self.config.head
        targets = class_targets(self.task, codes[:, 0], numbers[:, 0], head.spread, head.open_end)
        return targets * self.class_weights[codes[:, 0]][:, None]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss that `train.loss` names."""
        return self.task_loss(outputs, targets)

    def probabilities(self, outputs: Tensor) -> list[Tensor]:
        """Softmax."""
        return [outputs.softmax(dim=1)]


@dataclass(frozen=True)
class YearsHead(ClassHead):
    """One output per whole number in the task's range: a distribution over years, which is summed over each bin.

    Source: Gao et al., "Deep Label Distribution Learning with Label Ambiguity", 2017; for the loss of the expected
    number, "Age Estimation Using Expectation of Label Distribution Learning", 2018.
    """

    def encode(self, codes: Codes, numbers: Numbers) -> Targets:
        """Rows over the years, times the class weights."""
        head = self.config.head
        years = year_targets(self.task, codes[:, 0], numbers[:, 0], head.spread, head.open_end)
        return (years * self.class_weights[codes[:, 0]][:, None]).astype(np.float32)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy over the years + bins_loss * loss over the bins + number_loss * mean |error| / outputs."""
        head = self.config.head
        loss = cross_entropy(outputs, targets)
        if head.bins_loss:
            log_p = self._sum_bins(outputs.softmax(dim=1)).clamp_min(TINY).log()
            loss = loss + head.bins_loss * self.task_loss(log_p, self._sum_bins(targets))
        if head.number_loss:
            years = torch.arange(self.outputs, device=outputs.device, dtype=outputs.dtype)
            weights = targets.sum(dim=1)
            expected = (targets @ years) / weights.clamp_min(TINY)
            error = ((outputs.softmax(dim=1) @ years) - expected).abs() / self.outputs
            loss = loss + head.number_loss * (error * weights).sum() / weights.sum().clamp_min(TINY)
        return loss

    def probabilities(self, outputs: Tensor) -> list[Tensor]:
        """The probabilities of the years, summed over each bin."""
        return [self._sum_bins(outputs.softmax(dim=1))]

    @property
    def first_years(self) -> list[int]:
        """The first output of each bin, and the number of outputs."""
        return [0, *(round(edge - self.task.low) for edge in self.task.edges), self.outputs]

    def _sum_bins(self, years: Tensor) -> Tensor:
        """(N, outputs) -> (N, C)."""
        return torch.stack([years[:, a:b].sum(dim=1) for a, b in pairwise(self.first_years)], dim=1)


@dataclass(frozen=True)
class JointHead:
    """One output per joint class; the probabilities of a task are sums over the classes of the other tasks."""

    tasks: tuple[Task, ...]
    outputs: int
    columns: int
    weight: float
    class_weights: tuple[Targets, ...]
    task_loss: Loss

    def encode(self, codes: Codes, numbers: Numbers) -> Targets:
        """One-hot rows times the class weights of all tasks; zero where the label of a task is missing."""
        weights = np.prod([per_class[codes[:, i]] for i, per_class in enumerate(self.class_weights)], axis=0)
        return (joint_targets(self.tasks, codes) * weights[:, None]).astype(np.float32)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss that `train.loss`, the same for all tasks, names."""
        return self.task_loss(outputs, targets)

    def probabilities(self, outputs: Tensor) -> list[Tensor]:
        """Softmax, then the marginal distribution of each task."""
        joint = outputs.softmax(dim=1).reshape(-1, *(len(task.classes) for task in self.tasks))
        axes = range(1, joint.ndim)
        others = [[other for other in axes if other != axis] for axis in axes]
        return [joint.sum(dim=dims) if dims else joint for dims in others]


@dataclass(frozen=True)
class Heads:
    """All heads of one network; its outputs are those of the heads, side by side."""

    parts: tuple[Head, ...]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks in the order of the heads."""
        return tuple(task for head in self.parts for task in head.tasks)

    @property
    def outputs(self) -> int:
        """Number of outputs of all heads."""
        return sum(head.outputs for head in self.parts)

    def encode(self, codes: Codes, numbers: Numbers) -> Targets:
        """Targets of all heads side by side.

        Args:
            codes: (N, T) class indices of `tasks`, `UNLABELLED` where there is none.
            numbers: (N, T) the numbers behind them, NaN where there is none.
        """
        bounds = pairwise(accumulate((len(head.tasks) for head in self.parts), initial=0))
        parts = [head.encode(codes[:, a:b], numbers[:, a:b]) for head, (a, b) in zip(self.parts, bounds, strict=True)]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The weighted sum of the heads' losses: (N, outputs) and (N, columns) -> ()."""
        output_parts = outputs.split([head.outputs for head in self.parts], dim=1)
        target_parts = targets.split([head.columns for head in self.parts], dim=1)
        parts = zip(self.parts, output_parts, target_parts, strict=True)
        return torch.stack([head.weight * head.loss(o, t) for head, o, t in parts]).sum()

    def disagreement(self, outputs: Tensor, pair_mask: Tensor) -> Tensor:
        """How much the predictions of two photos differ that show one person with one label.

        Per task, the mean over its pairs of sum((a - b) * (log a - log b)) / 2, half the symmetric Kullback-Leibler
        divergence between their probabilities a and b; the tasks are added up by their heads' weights.

        Args:
            outputs: (N, O); rows 2i and 2i + 1 are a pair.
            pair_mask: (N // 2, T) bool on the CPU, True where both photos of a pair have the same label.

        Source: Wu et al., "R-Drop", 2021, with another photo in place of another pass.
        """
        total = outputs.new_zeros(())
        weights = [head.weight for head in self.parts for _ in head.tasks]
        for weight, p, pairs in zip(weights, self.probabilities(outputs), pair_mask.unbind(dim=1), strict=True):
            chosen = to_device(pairs.nonzero().squeeze(1), p.device)  # a mask on a GPU would have to be read back
            a, b = (p[start : 2 * len(pairs) : 2][chosen].clamp_min(TINY) for start in (0, 1))
            total = total + weight * ((a - b) * (a.log() - b.log())).sum() / 2 / pairs.sum().clamp_min(1)
        return total

    @property
    def tied(self) -> list[slice]:
        """The outputs that share one row of weights in the last layer: a slice for each CORAL head."""
        ends = zip(self.parts, accumulate(head.outputs for head in self.parts), strict=True)
        return [slice(end - head.outputs, end) for head, end in ends if isinstance(head, CoralHead)]

    def probabilities(self, outputs: Tensor) -> list[Tensor]:
        """(N, outputs) -> (N, C) for each of `tasks`; rows add up to 1."""
        output_parts = outputs.split([head.outputs for head in self.parts], dim=1)
        return [p for head, part in zip(self.parts, output_parts, strict=True) for p in head.probabilities(part)]


def build_heads(tasks: Sequence[Task], configs: Sequence[TaskConfig], *, joint: bool = False) -> Heads:
    """The heads of one network that predicts `tasks`: one for each, or one for their joint class."""
    if not joint:
        return Heads(tuple(_build_head(task, config) for task, config in zip(tasks, configs, strict=True)))
    loss = LOSSES[configs[0].train.loss](configs[0].train)
    outputs = math.prod(len(task.classes) for task in tasks)
    weights = tuple(_class_weights(task, config) for task, config in zip(tasks, configs, strict=True))
    return Heads((JointHead(tuple(tasks), outputs, outputs, 1.0, weights, loss),))


def _build_head(task: Task, config: TaskConfig) -> Head:
    """The head that `head.kind` names."""
    classes, weight, class_weights = len(task.classes), config.head.weight, _class_weights(task, config)
    if config.head.kind == "ordinal":
        return OrdinalHead(task, classes - 1, classes, weight, class_weights)
    if config.head.kind == "coral":
        return CoralHead(task, classes - 1, classes, weight, class_weights)
    loss = LOSSES[config.train.loss](config.train)
    if config.head.kind == "years":
        top = task.high if config.head.open_end is None else config.head.open_end
        outputs = round(top - task.low) + 1
        return YearsHead(task, config, outputs, outputs, weight, class_weights, loss)
    return ClassHead(task, config, classes, classes, weight, class_weights, loss)


def _class_weights(task: Task, config: TaskConfig) -> Targets:
    """(C,) the factor of each class in the loss."""
    return np.array([config.head.weights.get(name, 1.0) for name in task.classes], np.float32)
