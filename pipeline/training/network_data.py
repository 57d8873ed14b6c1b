"""From samples to what one network learns from.

samples + their crops + the settings -> NetworkData, the same in every process of a training.
"""

import re
import socket
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache.errors import UsageError
from classify.data.sample import Sample
from classify.data.training_set import Masks, NetworkData
from classify.distributed import Ranks
from classify.models.plan import Plan
from classify.tasks import UNLABELLED, Task, joint_class
from pipeline.context import RunContext
from pipeline.detection.detect import Detection
from pipeline.settings import Settings
from pipeline.training.packed_crops import training_landmarks, training_pixels
from pipeline.training.teacher_targets import TeacherTargets

# Polars' SQL opens any file or address that a subquery names, and settings may come from anybody.
READS = re.compile(r"\b(?:select|table|values|read_\w*|scan_\w*)\b", re.IGNORECASE)


def network_data(
    plan: Plan,
    samples: Sequence[Sample],
    fold: int | None,
    detection: Detection,
    context: RunContext,
    taught: TeacherTargets | None = None,
) -> NetworkData:
    """What the network of `plan` learns from when `fold` is held out, and from teachers where there are any.

    Raises:
        UsageError: a rule or the settings of drawn masks make no sense.
    """
    tasks = context.settings.task_list()
    columns = [tasks.index(task) for task in plan.tasks]
    codes = np.array([sample.codes for sample in samples], np.intp).reshape(len(samples), len(tasks))
    numbers = np.array([sample.numbers for sample in samples], np.float64).reshape(codes.shape)[:, columns]
    folds = np.array([sample.fold for sample in samples])
    kinds = augmentation_groups(plan, samples, tasks)
    label_mask = _label_mask(plan, codes[:, columns], numbers, kinds)
    if plan.joint:
        label_mask &= label_mask.all(axis=1, keepdims=True)  # a joint class needs all labels
    labelled = (codes[:, columns] != UNLABELLED).any(axis=1)
    inside = np.ones(len(samples), bool) if fold is None else folds != fold
    trained = label_mask.any(axis=1) & inside
    return NetworkData(
        training_pixels([sample.source for sample in samples], plan.model, detection, context),
        codes[:, columns],
        numbers,
        label_mask,
        kinds,
        np.flatnonzero(trained),
        np.flatnonzero(labelled & ~inside),
        _sampling_weights(plan, kinds, [joint_class(tasks, row) for row in codes.tolist()], trained),
        _masks(plan, samples, codes, detection, context.settings),
        taught.of(samples, plan.tasks) if taught else None,
        plan.train.distill if taught else 0.0,
        np.unique([sample.person for sample in samples], return_inverse=True)[1].astype(np.intp),
    )


def augmentation_groups(plan: Plan, samples: Sequence[Sample], tasks: Sequence[Task]) -> NDArray[np.intp]:
    """(M, T) class of each sample, or the group whose rule chooses it, counted on after the classes.

    Raises:
        UsageError: a rule is no SQL condition over the columns that there are.
    """
    columns = [tasks.index(task) for task in plan.tasks]
    kinds = np.array([[sample.codes[i] for i in columns] for sample in samples], np.intp).reshape(-1, len(columns))
    table = _facts(samples, tasks) if any(config.augment.groups for config in plan.configs) else pl.DataFrame()
    for column, (task, config) in enumerate(zip(plan.tasks, plan.configs, strict=True)):
        for number, group in reversed(list(enumerate(config.augment.groups))):
            where = f"tasks.{task.name}.augment.groups: {group.where!r}"
            if word := READS.search(group.where):
                raise UsageError(f"{where}: {word[0]!r} is not allowed; a rule asks for a photo's own columns only")
            try:
                chosen = table.select(pl.sql_expr(group.where).alias("chosen"))["chosen"].fill_null(value=False)
            except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
                raise UsageError(f"{where}: {error}; there are the columns {', '.join(table.columns)}") from error
            if chosen.dtype != pl.Boolean or len(chosen) != len(samples):
                raise UsageError(f"{where} is no condition: it must be true or false for every photo")
            kinds[chosen.to_numpy() & (kinds[:, column] != UNLABELLED), column] = len(task.classes) + number
    return kinds


def _facts(samples: Sequence[Sample], tasks: Sequence[Task]) -> pl.DataFrame:
    """What a rule can ask of each sample."""
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
    plan: Plan, codes: NDArray[np.intp], numbers: NDArray[np.float64], kinds: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """(M, T) labelled, not in a range that training leaves out, and of no class or group whose multiplier is 0."""
    label_mask = codes != UNLABELLED
    for column, (task, config) in enumerate(zip(plan.tasks, plan.configs, strict=True)):
        for low, high in config.drop:
            label_mask[:, column] &= ~((numbers[:, column] >= low) & (numbers[:, column] <= high))
        rules = [*(config.augment.classes.get(name) for name in task.classes), *config.augment.groups]
        left_out = [kind for kind, rule in enumerate(rules) if rule is not None and not rule.multiplier]
        label_mask[:, column] &= ~np.isin(kinds[:, column], left_out)
    return label_mask


def _sampling_weights(
    plan: Plan, kinds: NDArray[np.intp], joint: Sequence[int], trained: NDArray[np.bool_]
) -> NDArray[np.float64] | None:
    """(M,) the inverse of how many photos of its group are trained on; the mean of it where a label is missing.

    What is left out of a task's training counts with its class: it would be a group of its own otherwise, of few photos
    that teach the task nothing.
    """
    if plan.train.sampling == "all":
        return None
    if plan.train.sampling == "joint":
        groups = np.array(joint, np.intp)
    else:
        groups = np.unique(kinds, axis=0, return_inverse=True)[1].reshape(-1)
        groups[(kinds == UNLABELLED).any(axis=1)] = UNLABELLED
    whole = trained & (groups != UNLABELLED)
    photos = np.bincount(groups[whole], minlength=int(groups.max(initial=0)) + 1)
    usual = np.count_nonzero(photos) / max(whole.sum(), 1) or 1.0
    return np.where(groups == UNLABELLED, usual, 1.0 / np.maximum(photos, 1)[groups])


def _masks(
    plan: Plan, samples: Sequence[Sample], codes: NDArray[np.intp], detection: Detection, settings: Settings
) -> Masks | None:
    share = plan.configs[0].augment.masks
    if not share:
        return None
    tasks, labels = settings.task_list(), settings.masks
    names = [task.name for task in tasks]
    if labels.task not in names:
        raise UsageError(
            f"masks.task: there is no task {labels.task!r}, and augment.masks needs to know who wears none"
        )
    column = names.index(labels.task)
    classes = tasks[column].classes
    told = {"right": labels.right, "nose_out": labels.nose_out, "under_chin": labels.under_chin}
    for key, name in {"bare": labels.bare, **told}.items():
        if name not in classes:
            raise UsageError(f"masks.{key}: the task {labels.task} has no class {name!r}; it has {', '.join(classes)}")
    landmarks = training_landmarks([sample.source for sample in samples], plan.model, detection)
    landmarks[codes[:, column] != classes.index(labels.bare)] = np.nan
    own = next((i for i, task in enumerate(plan.tasks) if task.name == labels.task), -1)
    codes_of = {key: classes.index(name) for key, name in told.items()}
    return Masks(landmarks, share, {**labels.fabrics}, {**labels.wearings}, own, codes_of)


ROWS = ("codes", "numbers", "learnt", "kinds", "train", "validate", "chances", "taught", "people")


def shared(data: NetworkData | None, run: Path, ranks: Ranks) -> NetworkData:
    """The network's data, which rank 0 has, for every process: it tells the labels; the pack is on a disk of all."""
    if data is not None and ranks.world == 1:
        return data
    told = ranks.broadcast(lambda: _told(data) if data else {})
    if data is not None:
        return data
    for path in (run / "config.yaml", Path(told["pixels"])):
        if not path.is_file():
            where = f"rank {ranks.rank} on {socket.gethostname()}"
            raise UsageError(f"{where} does not see {path}: --out and --cache must be on a disk that all processes see")
    rows: dict[str, Any] = {name: None if told[name] is None else np.array(*told[name]) for name in ROWS}
    masks: Any = told["masks"]
    if masks:
        landmarks = np.array(masks.pop("landmarks"), np.float32)
        masks = Masks(landmarks, **masks)
    return NetworkData(
        pixels=np.load(told["pixels"], mmap_mode="r", allow_pickle=False), masks=masks, share=told["share"], **rows
    )


def _told(data: NetworkData) -> dict[str, Any]:
    if not isinstance(data.pixels, np.memmap) or not data.pixels.filename:
        raise UsageError(
            "the cache can't be written, and several processes read the pack from there; name another --cache"
        )
    rows = {name: getattr(data, name) for name in ROWS}
    masks = data.masks
    return {
        "pixels": str(Path(data.pixels.filename).resolve()),
        "masks": {**vars(masks), "landmarks": masks.landmarks.tolist()} if masks else None,
        "share": data.share,
        **{name: None if value is None else [value.tolist(), str(value.dtype)] for name, value in rows.items()},
    }
