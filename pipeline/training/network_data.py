"""The data of one network.

In: samples, their crops and the settings. Out: NetworkData, the same in every process of a training.
"""

import socket
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache.config import fingerprint
from cache.errors import UsageError
from classify.data.augmentation import needed_margin
from classify.data.sample import Sample
from classify.data.training_set import DrawnMasks, NetworkData, Pixels
from classify.distributed import Ranks
from classify.models.network_plan import Plan
from classify.preprocessing import Margin, centre_of
from classify.tasks import UNLABELLED, Task, joint_class
from pipeline.context import RunContext
from pipeline.detection.detect import Detection
from pipeline.settings import Settings
from pipeline.sql_condition import rows_where
from pipeline.training.packed_crops import training_landmarks, training_pixels
from pipeline.training.teacher_targets import TeacherTargets

View = tuple[tuple[int, int], float, Margin]  # input, zoom and margin of packed crops


def network_data(
    plan: Plan,
    samples: Sequence[Sample],
    held_out: Collection[int],
    detection: Detection,
    context: RunContext,
    teacher_targets: TeacherTargets | None = None,
    packs: dict[View, Pixels] | None = None,
) -> NetworkData:
    """Make the data that the network of `plan` is trained and validated on.

    Args:
        samples: all M of the run.
        held_out: the folds that are not trained on; none trains on all samples.
        teacher_targets: to be mixed into the labels.
        packs: the packed crops of the run's networks; those of this one are added unless they are there.

    Raises:
        UsageError: the rule of an augmentation group or the settings of drawn masks are invalid.
    """
    # Labels, (M, tasks of the network)
    tasks = context.settings.task_list()
    columns = [tasks.index(task) for task in plan.tasks]
    all_codes = np.array([sample.codes for sample in samples], np.intp).reshape(len(samples), len(tasks))
    codes = all_codes[:, columns]
    numbers = np.array([sample.numbers for sample in samples], np.float64).reshape(all_codes.shape)[:, columns]
    groups = augmentation_groups(plan, samples, tasks)
    label_mask = _label_mask(plan, codes, numbers, groups)
    if plan.joint:
        label_mask &= label_mask.all(axis=1, keepdims=True)  # a joint class needs all labels

    # Rows to train and to validate on
    is_held_out = np.array([sample.fold in held_out for sample in samples], bool)
    is_trained = label_mask.any(axis=1) & ~is_held_out
    is_labelled = (codes != UNLABELLED).any(axis=1)

    # Pixels last: packing takes minutes, and whatever is wrong with the settings has been raised by then
    joint = [joint_class(tasks, row) for row in all_codes.tolist()]
    sampling_weights = _sampling_weights(plan, groups, joint, is_trained)
    margin = needed_margin(plan)
    masks = _drawn_masks(plan, samples, all_codes, detection, context.settings, margin)
    packs, view = {} if packs is None else packs, (plan.model.input, plan.model.zoom, margin)
    if view not in packs:
        packs[view] = training_pixels([sample.source for sample in samples], plan.model, detection, context, margin)
    return NetworkData(
        centre_of(packs[view], margin),
        codes,
        numbers,
        label_mask,
        groups,
        train=np.flatnonzero(is_trained),
        validate=np.flatnonzero(is_labelled & is_held_out),
        sampling_weights=sampling_weights,
        masks=masks,
        teacher_targets=teacher_targets.of(samples, plan.tasks) if teacher_targets else None,
        teacher_weight=plan.train.distill if teacher_targets else 0.0,
        person_ids=np.unique([sample.person for sample in samples], return_inverse=True)[1].astype(np.intp),
        sources_digest=fingerprint({"sources": [sample.source for sample in samples]}),
        wide=packs[view] if any(margin) else None,
    )


def augmentation_groups(plan: Plan, samples: Sequence[Sample], tasks: Sequence[Task]) -> NDArray[np.intp]:
    """Return (M, T) the augmentation group of each sample: its class, or len(classes) + the number of a matching rule.

    Raises:
        UsageError: a rule is not an SQL condition on the columns of `_rule_columns`.
    """
    columns = [tasks.index(task) for task in plan.tasks]
    codes = np.array([[sample.codes[i] for i in columns] for sample in samples], np.intp).reshape(-1, len(columns))
    groups = codes.copy()
    table = _rule_columns(samples, tasks) if any(config.augment.groups for config in plan.configs) else pl.DataFrame()
    for column, (task, config) in enumerate(zip(plan.tasks, plan.configs, strict=True)):
        for number, group in reversed(list(enumerate(config.augment.groups))):  # of several rules, the first wins
            where = f"tasks.{task.name}.augment.groups: {group.where!r}"
            is_chosen = rows_where(table, group.where, where).to_numpy()
            groups[is_chosen & (codes[:, column] != UNLABELLED), column] = len(task.classes) + number
    return groups


def refuse_wrong_rules(plan: Plan, tasks: Sequence[Task]) -> None:
    """Raise an error if a rule of the augmentation groups is no condition on the columns that rules can use."""
    example = Sample("folder/photo.jpg", "", "person", (0,) * len(tasks), (0.0,) * len(tasks), 0)
    table = _rule_columns([example], tasks).clear()
    for task, config in zip(plan.tasks, plan.configs, strict=True):
        for group in config.augment.groups:
            rows_where(table, group.where, f"tasks.{task.name}.augment.groups: {group.where!r}")


def _rule_columns(samples: Sequence[Sample], tasks: Sequence[Task]) -> pl.DataFrame:
    """Return the columns that a rule can use, a row per sample."""
    paths = [PurePosixPath(sample.name) for sample in samples]
    columns: dict[str, Any] = {
        "path": [str(path) for path in paths],
        "folder": [path.parent.name for path in paths],
        "stem": [path.stem for path in paths],
        "person": [sample.person for sample in samples],
        "id": [sample.person.split("_")[0] for sample in samples],
    }
    for index, task in enumerate(tasks):
        columns[task.name] = (
            pl.Series([sample.numbers[index] for sample in samples]).fill_nan(None)
            if task.edges
            else [task.classes[c] if (c := sample.codes[index]) != UNLABELLED else None for sample in samples]
        )
    return pl.DataFrame(columns)


def _label_mask(
    plan: Plan, codes: NDArray[np.intp], numbers: NDArray[np.float64], groups: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Return (M, T) which labels are trained on: not those in a range of `drop`, or of a group with multiplier 0."""
    label_mask = codes != UNLABELLED
    for column, (task, config) in enumerate(zip(plan.tasks, plan.configs, strict=True)):
        for low, high in config.drop:
            label_mask[:, column] &= ~((numbers[:, column] >= low) & (numbers[:, column] <= high))
        rules = [*(config.augment.classes.get(name) for name in task.classes), *config.augment.groups]
        left_out = [group for group, rule in enumerate(rules) if rule is not None and not rule.multiplier]
        label_mask[:, column] &= ~np.isin(groups[:, column], left_out)
    return label_mask


def _sampling_weights(
    plan: Plan, augmentation_groups: NDArray[np.intp], joint: Sequence[int], is_trained: NDArray[np.bool_]
) -> NDArray[np.float64] | None:
    """Return (M,) 1 / the number of trained photos in each sample's group; their mean where a label is missing.

    A label that is left out of training still counts as its class: as a small group of its own, it would have its
    photos drawn often, for nothing.
    """
    if plan.train.sampling == "all":
        return None
    if plan.train.sampling == "joint":
        groups = np.array(joint, np.intp)
    else:
        groups = np.unique(augmentation_groups, axis=0, return_inverse=True)[1].reshape(-1)
        groups[(augmentation_groups == UNLABELLED).any(axis=1)] = UNLABELLED
    counted = is_trained & (groups != UNLABELLED)
    photos = np.bincount(groups[counted], minlength=int(groups.max(initial=0)) + 1)
    mean = np.count_nonzero(photos) / max(counted.sum(), 1) or 1.0
    return np.where(groups == UNLABELLED, mean, 1.0 / np.maximum(photos, 1)[groups])


def _drawn_masks(
    plan: Plan,
    samples: Sequence[Sample],
    codes: NDArray[np.intp],
    detection: Detection,
    settings: Settings,
    margin: Margin,
) -> DrawnMasks | None:
    """Return what masks are drawn, and on which samples; `codes` is (M, all tasks), `margin` that of the pixels."""
    share = plan.configs[0].augment.masks
    if not share:
        return None
    column, bare, worn_codes = _mask_codes(settings)
    landmarks = training_landmarks([sample.source for sample in samples], plan.model, detection)
    landmarks += np.array(margin[::-1], np.float32)
    landmarks[codes[:, column] != bare] = np.nan
    masks = settings.masks
    network_column = next((i for i, task in enumerate(plan.tasks) if task.name == masks.task), -1)
    return DrawnMasks(landmarks, share, {**masks.fabrics}, {**masks.wearings}, network_column, worn_codes)


def refuse_wrong_masks(plans: Sequence[Plan], settings: Settings) -> None:
    """Raise an error if masks are to be drawn, but `masks` names a task or class that does not exist."""
    if any(plan.configs[0].augment.masks for plan in plans):
        _mask_codes(settings)


def _mask_codes(settings: Settings) -> tuple[int, int, dict[str, int]]:
    """Return the column of the task of masks, its class index without one, and its class index for each wearing."""
    tasks, masks = settings.task_list(), settings.masks
    names = [task.name for task in tasks]
    if masks.task not in names:
        raise UsageError(f"masks.task: there is no task {masks.task!r}, which says who wears no mask (augment.masks)")
    column = names.index(masks.task)
    classes = tasks[column].classes
    named = {
        "bare": masks.bare, "right": masks.right, "nose_out": masks.nose_out, "under_chin": masks.under_chin
    }  # fmt: skip
    for key, name in named.items():
        if name not in classes:
            raise UsageError(f"masks.{key}: the task {masks.task} has no class {name!r}; it has {', '.join(classes)}")
    codes = {key: classes.index(name) for key, name in named.items()}
    return column, codes.pop("bare"), codes


def share_with_ranks(data: NetworkData | None, run: Path, ranks: Ranks) -> NetworkData:
    """Give rank 0's `data` to the other processes, where it is None; they read the pixels from the pack on disk.

    Raises:
        UsageError: the pack is not on disk, or another process does not see it or the run folder.
    """
    message = ranks.broadcast(lambda: as_message(data) if data and ranks.world_size > 1 else {})
    if data is not None:
        return data
    for path in (run / "config.yaml", Path(message["packed"]["path"])):
        if not path.is_file():
            where = f"rank {ranks.rank} on {socket.gethostname()}"
            raise UsageError(f"{where} does not see {path}: --out and --cache must be on a disk that all processes see")
    received = {name: _from_json(value) for name, value in message.items()}
    margin = received.pop("packed")["margin"]
    packed = np.load(message["packed"]["path"], mmap_mode="r", allow_pickle=False)
    received |= {"pixels": centre_of(packed, margin), "wide": packed if any(margin) else None}
    if message["masks"]:
        received["masks"] = DrawnMasks(**{name: _from_json(value) for name, value in message["masks"].items()})
    return NetworkData(**received)


def as_message(data: NetworkData) -> dict[str, Any]:
    """Return the data's fields as JSON values: arrays as a list and a dtype, the pixels as a pack's path and margin."""
    packed = data.packed
    if not isinstance(packed, np.memmap) or not packed.filename:
        raise UsageError(
            "the cache can't be written, and several processes read the pack from there; name another --cache"
        )
    path = str(Path(packed.filename).resolve())
    masks = {name: _to_json(value) for name, value in vars(data.masks).items()} if data.masks else None
    fields = {name: _to_json(value) for name, value in vars(data).items() if name not in {"pixels", "wide", "masks"}}
    return {**fields, "packed": {"path": path, "margin": data.margin}, "masks": masks}


def _to_json(value: Any) -> Any:
    return [value.tolist(), str(value.dtype)] if isinstance(value, np.ndarray) else value


def _from_json(value: Any) -> Any:
    return np.array(*value) if isinstance(value, list) else value
