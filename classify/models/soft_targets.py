"""What a student learns: labels mixed with what a teacher told.

targets (N, columns) of a network's heads + the teacher's probabilities per task -> targets (N, columns).

A row keeps what it counts, so that class weights stay; a row without a label stays without, whatever the teacher says.

Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, with temperature 1.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from classify.models.heads import Head, Heads, Targets, YearsHead

LEAST_MASS = 1e-4  # of a label in a bin, for its shape there to be the teacher's, too


def with_teacher(heads: Heads, targets: Targets, taught: Targets, share: float) -> Targets:
    """Mix labels and teacher.

    Args:
        heads: of the network.
        targets: (N, columns) from `heads.encode`.
        taught: (N, classes of all tasks side by side) probabilities; NaN where the teacher told nothing.
        share: of the teacher, from 0 to 1.

    Returns:
        (N, columns) with the sums of `targets`' rows, per head.
    """
    mixed, column, start = targets.copy(), 0, 0
    for head in heads.parts:
        own = slice(column, column := column + head.columns)
        told: list[NDArray[np.float64]] = []
        for task in head.tasks:
            told.append(taught[:, start : (start := start + len(task.classes))].astype(np.float64))
        known = np.isfinite(np.concatenate(told, axis=1)).all(axis=1) & (targets[:, own].sum(axis=1) > 0)
        rows = targets[known, own].astype(np.float64)
        counts = rows.sum(axis=1, keepdims=True)
        spread = _columns(head, rows / counts, [one[known] for one in told])
        mixed[known, own] = (1 - share) * rows + share * counts * spread
    return mixed


def _columns(head: Head, labels: NDArray[np.float64], told: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The teacher's probabilities as rows of a head's targets that add up to 1."""
    joint = told[0]
    for one in told[1:]:  # as if the tasks had nothing to do with each other; the last task's classes run fastest
        joint = (joint[:, :, None] * one[:, None, :]).reshape(len(one), -1)
    joint = joint / joint.sum(axis=1, keepdims=True)
    if not isinstance(head, YearsHead):
        return joint
    spread = np.empty_like(labels)
    for code, (first, end) in enumerate(pairwise(head.first_years)):
        mass = labels[:, first:end].sum(axis=1, keepdims=True)
        even = np.full((len(labels), end - first), 1 / (end - first))
        shape = np.where(mass > LEAST_MASS, labels[:, first:end] / np.maximum(mass, LEAST_MASS), even)
        spread[:, first:end] = joint[:, code : code + 1] * shape
    return spread
