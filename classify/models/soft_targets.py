"""Targets of a student: labels mixed with the probabilities that a teacher predicted.

targets (N, columns) of a network's heads + the teacher's probabilities per task -> targets (N, columns).

A row keeps its sum, so that class weights still hold; a row without a label stays without one, whatever the teacher
predicted.

Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, with temperature 1.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from classify.models.heads import Head, Heads, Targets, YearsHead

LEAST_MASS = 1e-4  # of a label within a bin; with less, the teacher's probability is spread evenly over the bin


def mix_in_teacher(heads: Heads, targets: Targets, teacher_targets: Targets, teacher_weight: float) -> Targets:
    """Mix the labels with the teacher's predictions: (1 - teacher_weight) * label + teacher_weight * teacher.

    Args:
        heads: of the network.
        targets: (N, columns) from `heads.encode`.
        teacher_targets: (N, classes of all tasks side by side) probabilities; NaN where the teacher has no prediction.
        teacher_weight: in [0, 1].

    Returns:
        (N, columns) whose rows have the same sums as those of `targets`, per head.
    """
    mixed = targets.copy()
    widths = [len(task.classes) for task in heads.tasks]
    by_task = iter(np.split(teacher_targets.astype(np.float64), np.cumsum(widths)[:-1], axis=1))
    start = 0
    for head in heads.parts:
        columns = slice(start, start + head.columns)
        start = columns.stop
        predicted = [next(by_task) for _ in head.tasks]
        known = np.isfinite(np.concatenate(predicted, axis=1)).all(axis=1) & (targets[:, columns].sum(axis=1) > 0)
        labels = targets[known, columns].astype(np.float64)
        weights = labels.sum(axis=1, keepdims=True)
        teacher = _as_targets(head, labels / weights, [probabilities[known] for probabilities in predicted])
        mixed[known, columns] = (1 - teacher_weight) * labels + teacher_weight * weights * teacher
    return mixed


def _as_targets(
    head: Head, labels: NDArray[np.float64], predicted: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """The teacher's probabilities (N, C) per task as rows (N, columns) of a head's targets that add up to 1."""
    # The joint distribution as if the tasks were independent; the classes of the last task run fastest.
    joint = predicted[0]
    for probabilities in predicted[1:]:
        joint = (joint[:, :, None] * probabilities[:, None, :]).reshape(len(probabilities), -1)
    joint = joint / joint.sum(axis=1, keepdims=True)
    if not isinstance(head, YearsHead):
        return joint
    # Over the years: the teacher's probability of each bin, in the shape that the label has within the bin.
    years = np.empty_like(labels)
    for code, (first, end) in enumerate(pairwise(head.first_years)):
        mass = labels[:, first:end].sum(axis=1, keepdims=True)
        even = np.full((len(labels), end - first), 1 / (end - first))
        shape = np.where(mass > LEAST_MASS, labels[:, first:end] / np.maximum(mass, LEAST_MASS), even)
        years[:, first:end] = joint[:, code : code + 1] * shape
    return years
