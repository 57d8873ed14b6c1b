"""What a network's outputs mean: how a task's labels become targets, and outputs a loss and probabilities.

class index and, where there is one, the number behind it -> targets (N, T) -> loss; outputs (N, O) -> probabilities.

A row of targets is a weight spread over classes, or over years: it adds up to what the sample counts in the loss, and
to zero where the task is not labelled. Rows can be averaged, so that samples can be mixed.
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
from classify.models.losses import Loss, cross_entropy, loss_of
from classify.models.ordinal_heads import CoralHead, OrdinalHead
from classify.models.targets import TINY, Codes, Numbers, Targets, one_hot
from classify.tasks import UNLABELLED, Task, joint_class


class Head(Protocol):
    """One task's part, or the joint class's, of a network's outputs."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What it tells."""
        ...

    @property
    def outputs(self) -> int:
        """Of the network."""
        ...

    @property
    def columns(self) -> int:
        """Of the targets."""
        ...

    @property
    def weight(self) -> float:
        """Of the loss, among those of other heads."""
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
    """One output per class. Labels next to a border between bins can be shared between both, by `spread`."""

    task: Task
    config: TaskConfig
    outputs: int
    columns: int
    weight: float
    class_weights: Targets  # (C,)
    task_loss: Loss

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What it tells."""
        return (self.task,)

    def encode(self, codes: Codes, numbers: Numbers) -> Targets:
        """One-hot rows; with `spread`, the mass that a normal distribution around the number has in every bin."""
        rows = one_hot(codes[:, 0], len(self.task.classes))
        spread, known = self.config.head.spread, np.isfinite(numbers[:, 0]) & (codes[:, 0] != UNLABELLED)
        if spread and known.any():
            edges, at = np.array(self.task.edges), numbers[known]
            if (edges == np.floor(edges)).all():
                at = at + 0.5 * (at == np.floor(at))  # a whole number stands for all until the next: 29 is until 30
            below = _normal_below(edges[None], at, spread)
            ends = np.zeros((len(below), 1)), np.ones((len(below), 1))
            rows[known] = np.diff(np.concatenate([ends[0], below, ends[1]], axis=1), axis=1)
        return rows * self.class_weights[codes[:, 0]][:, None]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss that the settings name."""
        return self.task_loss(outputs, targets)

    def probabilities(self, outputs: Tensor) -> list[Tensor]:
        """Softmax."""
        return [outputs.softmax(dim=1)]


@dataclass(frozen=True)
class YearsHead:
    """One output per whole number in the task's range: a distribution over years, whose bins are summed.

    Source: Gao et al., "Deep Label Distribution Learning with Label Ambiguity", 2017, and for the expected number's
    share of the loss "Age Estimation Using Expectation of Label Distribution Learning", 2018.
    """

    task: Task
    config: TaskConfig
    outputs: int
    columns: int
    weight: float
    class_weights: Targets
    task_loss: Loss

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What it tells."""
        return (self.task,)

    def encode(self, codes: Codes, numbers: Numbers) -> Targets:
        """Normal distributions around the numbers, cut off at the range's ends; without a number, over its bin.

        With `top`, what is beyond is the last output's, and it alone is what a number from there on becomes.
        """
        years, top, last = np.arange(self.task.low, self.task.high + 1), self.config.head.top, self.outputs - 1
        rows = np.zeros((len(codes), self.outputs), np.float32)
        for row, (code, number) in enumerate(zip(codes[:, 0], numbers[:, 0], strict=True)):
            if code == UNLABELLED:
                continue
            if not np.isfinite(number):
                mass = (np.searchsorted(self.task.edges, years, side="right") == code).astype(np.float64)
            elif top is not None and number >= top:
                mass = (years == top).astype(np.float64)
            else:
                # Until 30, one is 29 years old: rounded, 29.7 would be in the next bin.
                mass = np.exp(-0.5 * ((years - np.floor(number)) / self.config.head.spread) ** 2)
            rows[row] = np.append(mass[:last], mass[last:].sum()) / mass.sum() * self.class_weights[code]
        return rows

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy over the years, and what the settings add of the bins' loss and the expected number's error."""
        head, loss = self.config.head, cross_entropy(outputs, targets)
        if head.bins_loss:
            loss = loss + head.bins_loss * self.task_loss(
                self._bins(outputs.softmax(1)).clamp_min(TINY).log(), self._bins(targets)
            )
        if head.number_loss:
            years = torch.arange(self.outputs, device=outputs.device, dtype=outputs.dtype)
            weights = targets.sum(dim=1)
            wanted = (targets @ years) / weights.clamp_min(TINY)
            wrong = ((outputs.softmax(dim=1) @ years) - wanted).abs() / self.outputs
            loss = loss + head.number_loss * (wrong * weights).sum() / weights.sum().clamp_min(TINY)
        return loss

    def probabilities(self, outputs: Tensor) -> list[Tensor]:
        """The years' probabilities, summed over every bin."""
        return [self._bins(outputs.softmax(dim=1))]

    @property
    def first_years(self) -> list[int]:
        """The first output of every bin, and the number of outputs."""
        return [0, *(round(edge - self.task.low) for edge in self.task.edges), self.outputs]

    def _bins(self, years: Tensor) -> Tensor:
        return torch.stack([years[:, a:b].sum(dim=1) for a, b in pairwise(self.first_years)], dim=1)


@dataclass(frozen=True)
class JointHead:
    """One output per joint class; a task's probabilities are sums over the others' classes."""

    tasks: tuple[Task, ...]
    outputs: int
    columns: int
    weight: float
    class_weights: tuple[Targets, ...]
    task_loss: Loss

    def encode(self, codes: Codes, numbers: Numbers) -> Targets:
        """One-hot rows, weighted by every task's weight of its class; zero where a task is not labelled."""
        joint = np.array([joint_class(self.tasks, row) for row in codes.tolist()], np.intp)
        weights = np.prod([own[codes[:, i]] for i, own in enumerate(self.class_weights)], axis=0)
        return (one_hot(joint, self.outputs) * weights[:, None]).astype(np.float32)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss that the common settings name."""
        return self.task_loss(outputs, targets)

    def probabilities(self, outputs: Tensor) -> list[Tensor]:
        """Softmax, then the marginals."""
        whole = outputs.softmax(dim=1).reshape(-1, *(len(task.classes) for task in self.tasks))
        axes = range(1, whole.ndim)
        return [whole.sum(dim=[a for a in axes if a != own]) if whole.ndim > 2 else whole for own in axes]


@dataclass(frozen=True)
class Heads:
    """All that one network tells: its outputs are those of the heads, one after the other."""

    parts: tuple[Head, ...]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks in the order of the heads."""
        return tuple(task for head in self.parts for task in head.tasks)

    @property
    def outputs(self) -> int:
        """The outputs of all heads."""
        return sum(head.outputs for head in self.parts)

    def encode(self, codes: Codes, numbers: Numbers) -> Targets:
        """Targets of all heads side by side.

        Args:
            codes: (N, T) class indices of `tasks`, `UNLABELLED` where there is none.
            numbers: (N, T) the numbers behind them, NaN where there is none.
        """
        start, parts = 0, list[Targets]()
        for head in self.parts:
            own = slice(start, start := start + len(head.tasks))
            parts.append(head.encode(codes[:, own], numbers[:, own]))
        return np.concatenate(parts, axis=1).astype(np.float32)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The heads' losses, weighted."""
        told = outputs.split([head.outputs for head in self.parts], dim=1)
        wanted = targets.split([head.columns for head in self.parts], dim=1)
        losses = [h.weight * h.loss(o, t) for h, o, t in zip(self.parts, told, wanted, strict=True)]
        return torch.stack(losses).sum()

    def disagreement(self, outputs: Tensor, alike: Tensor) -> Tensor:
        """How differently two photos are told that should be told alike.

        Half of the symmetric Kullback-Leibler divergence, in the mean over pairs, added up over tasks.

        Source: Wu et al., "R-Drop: Regularized Dropout for Neural Networks", 2021, with another photo in place of
        another pass.

        Args:
            outputs: (N, O); rows 2i and 2i + 1 are a pair.
            alike: (N // 2, T) bool, which pairs show one person with one label.
        """
        apart = outputs.new_zeros(())
        weights = [head.weight for head in self.parts for _ in head.tasks]
        for weight, told, pairs in zip(weights, self.probabilities(outputs), alike.unbind(dim=1), strict=True):
            a, b = (told[start : 2 * len(pairs) : 2][pairs].clamp_min(TINY) for start in (0, 1))
            apart = apart + weight * ((a - b) * (a.log() - b.log())).sum() / 2 / pairs.sum().clamp_min(1)
        return apart

    @property
    def tied(self) -> list[slice]:
        """Outputs whose weights in the last layer are one."""
        ends = list(accumulate(head.outputs for head in self.parts))
        return [
            slice(end - head.outputs, end)
            for head, end in zip(self.parts, ends, strict=True)
            if isinstance(head, CoralHead)
        ]

    def probabilities(self, outputs: Tensor) -> list[Tensor]:
        """(N, outputs) -> (N, C) for each of `tasks`; rows add up to 1."""
        told = outputs.split([head.outputs for head in self.parts], dim=1)
        return [one for head, own in zip(self.parts, told, strict=True) for one in head.probabilities(own)]


def heads_of(tasks: Sequence[Task], configs: Sequence[TaskConfig], *, joint: bool = False) -> Heads:
    """The heads of one network that tells `tasks`: one for each, or one for their joint class."""
    weights = [_class_weights(task, config) for task, config in zip(tasks, configs, strict=True)]
    if joint:
        size = math.prod(len(task.classes) for task in tasks)
        return Heads((JointHead(tuple(tasks), size, size, 1.0, tuple(weights), loss_of(configs[0].train)),))
    return Heads(tuple(_head(*one) for one in zip(tasks, configs, weights, strict=True)))


def _head(task: Task, config: TaskConfig, class_weights: Targets) -> Head:
    classes, loss, weight = len(task.classes), loss_of(config.train), config.head.weight
    if config.head.kind == "ordinal":
        return OrdinalHead(task, classes - 1, classes, weight, class_weights)
    if config.head.kind == "coral":
        return CoralHead(task, classes - 1, classes, weight, class_weights)
    if config.head.kind == "years":
        top = task.high if config.head.top is None else config.head.top
        years = round(top - task.low) + 1
        return YearsHead(task, config, years, years, weight, class_weights, loss)
    return ClassHead(task, config, classes, classes, weight, class_weights, loss)


def _class_weights(task: Task, config: TaskConfig) -> Targets:
    return np.array([config.head.weights.get(name, 1.0) for name in task.classes], np.float32)


def _normal_below(limits: Numbers, numbers: Numbers, spread: float) -> Numbers:
    """The mass below each limit (1, E) of normal distributions around numbers (N, 1): (N, E)."""
    return np.vectorize(lambda z: 0.5 * (1 + math.erf(z / math.sqrt(2))))((limits - numbers) / spread)
