"""How often an epoch shows each class: after multipliers and copies, sampling, and drawn masks.

In: a network's plan and data. Out: ClassCount for each class of its tasks, on the console and in
RUN/class_counts.jsonl.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classify.data.augmentation import build_augmenter
from classify.data.training_set import DrawnMasks, NetworkData, TrainingSet
from classify.masks.synthesis import WEARING_SHARES
from classify.models.network_plan import Plan
from classify.tasks import UNLABELLED
from pipeline.context import RunContext
from pipeline.run_record import keep_json_lines


@dataclass(frozen=True, slots=True)
class ClassCount:
    """A class as a network is trained on it."""

    network: str  # the first of those that differ in held-out folds and seed only
    task: str
    name: str
    photos: int  # trained on
    shown: int  # of an epoch's draws, as expected
    held_out: int


def class_counts(plan: Plan, data: NetworkData, network: str) -> list[ClassCount]:
    """Count the photos of each class, and how many of an epoch's draws show it."""
    training_set = data.training_set(plan.heads)
    draws = build_augmenter(plan).multipliers(training_set.augmentation_groups).astype(np.float64)  # (R,), expected
    if training_set.sampling_weights is not None:
        draws = draws.sum() * training_set.sampling_weights
    counts: list[ClassCount] = []
    for column, task in enumerate(plan.tasks):
        codes = training_set.codes[:, column]
        held_out = data.codes[data.validate, column]
        shown = np.array([draws[codes == code].sum() for code in range(len(task.classes))])
        if data.masks is not None and data.masks.task == column:
            shown += _moved_by_masks(data.masks, training_set, draws, codes, len(task.classes))
        counts += [
            ClassCount(
                network, task.name, name, int((codes == code).sum()), round(shown[code]), int((held_out == code).sum())
            )
            for code, name in enumerate(task.classes)
        ]
    return counts


def show_counts(counts: Sequence[ClassCount], context: RunContext) -> None:
    """Print the counts of a network, and warn of classes that have no photo."""
    for count in counts:
        if not count.photos:
            context.console.warn(
                f"{count.task}: no photo of class {count.name!r} is left to train on ({count.held_out} are held out), "
                "so it will never be predicted; add labelled photos of it"
            )
    rows = [[f"{count.task} {count.name}", count.photos, count.shown, count.held_out] for count in counts]
    context.console.table("Training on", ["class", "photos", "shown an epoch", "held out"], rows, remark=True)


def keep_counts(run: Path, counts: Sequence[ClassCount], context: RunContext) -> None:
    """Write RUN/class_counts.jsonl."""
    keep_json_lines(run / "class_counts.jsonl", map(asdict, counts), context.console.warn)


def _moved_by_masks(
    masks: DrawnMasks, training_set: TrainingSet, draws: NDArray[np.float64], codes: NDArray[np.intp], classes: int
) -> NDArray[np.float64]:
    """(classes,) draws that drawn masks are expected to add to each class, or to take from it."""
    can_wear = ~np.isnan(masks.landmarks[training_set.rows, 0, 0]) & (codes != UNLABELLED)
    worn = np.where(can_wear, draws * masks.share, 0.0)
    moved = -np.bincount(codes[can_wear], worn[can_wear], minlength=classes).astype(np.float64)
    weights = masks.wearings or WEARING_SHARES
    for wearing, weight in weights.items():
        moved[masks.codes[wearing]] += worn.sum() * weight / sum(weights.values())
    return moved
