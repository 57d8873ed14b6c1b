"""From photos to samples.

In: labelled photos with crops. Out: Samples with encoded labels and folds; RUN/folds.csv and RUN/data.json.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache import atomic
from cache.config import fingerprint
from cache.errors import UsageError
from classify.data.folds import join_people, make_folds
from classify.data.sample import Sample
from classify.tasks import UNLABELLED, Task, encode_labels, joint_class, joint_names
from pipeline.context import RunContext
from pipeline.detection.detect import Detection
from pipeline.intake.photo import AppliedCorrections, Photo
from pipeline.run_record import keep_json
from pipeline.safe_csv import csv_text
from pipeline.settings import SplitConfig
from pipeline.training.given_folds import given_folds
from pipeline.training.packed_crops import with_crops
from pipeline.training.run_photos import write_photos


def make_samples(photos: Sequence[Photo], detection: Detection, run: Path | None, context: RunContext) -> list[Sample]:
    """Make the samples of a run and divide them into folds. With a run folder, its folds.csv is written or must match.

    Folds that the user gives are obeyed; otherwise people are dealt into them.

    Raises:
        DataError: no photo can be read, there are too few people, or a given fold is missing.
        UsageError: the run folder was made from other photos, or the fold to hold out does not exist.
    """
    tasks = context.settings.task_list()
    kept = with_crops(photos, detection)
    sources = [detection.sources[photo.path] for photo in kept]
    codes = [encode_labels(tasks, photo.labels) for photo in kept]
    joint = np.array([joint_class(tasks, code) for code in codes], dtype=np.intp)
    groups = join_people([photo.person for photo in kept], sources)
    split = context.settings.split
    seed = context.settings.seed if split.seed is None else split.seed
    folds = given_folds(kept, groups.tolist(), context)
    if folds is None:
        folds = make_folds(groups, joint, folds=split.folds, seed=seed)
        _check_folds(split, int(folds.max()) + 1)
    if run is not None:
        _keep_folds(run / "folds.csv", kept, folds)
    return [
        Sample(photo.name, source, photo.person, code, _numbers(tasks, photo), int(fold))
        for photo, source, code, fold in zip(kept, sources, codes, folds, strict=True)
    ]


def record_data(
    samples: Sequence[Sample],
    photos: Sequence[Photo],
    detection: Detection,
    run: Path,
    context: RunContext,
    corrections: Sequence[AppliedCorrections],
) -> None:
    """Write RUN/photos.csv, and RUN/data.json: fingerprints of the data, and how many photos there are of what.

    Raises:
        UsageError: data.json is there with another fingerprint of photos and labels.
    """
    tasks = context.settings.task_list()
    members = sorted([sample.source, list(sample.codes)] for sample in samples)
    joint = [joint_class(tasks, sample.codes) for sample in samples]
    classes: dict[str, dict[str, int]] = {}
    for index, task in enumerate(tasks):
        counts = Counter(sample.codes[index] for sample in samples)
        classes[task.name] = {name: counts[code] for code, name in enumerate(task.classes)}
    data_fingerprint = fingerprint({"members": members})
    record = {
        "data_fingerprint": data_fingerprint,
        "folds_fingerprint": fingerprint({"folds": [[s.name, s.person, s.fold] for s in samples]}),
        "crop_fingerprint": detection.store.fingerprint,
        "photos": len(photos),
        "trained_on": len(samples),
        "people": len({sample.person for sample in samples}),
        "found_by": detection.summary(photos)["found_by"],
        "classes": classes,
        "open_ends": {
            name: config.head.open_end
            for name, config in context.settings.tasks.items()
            if config.head.open_end is not None
        },
        "corrections": [correction.as_json() for correction in corrections],
        "joint": dict(Counter(joint_names(tasks)[code] for code in joint if code != UNLABELLED)),
    }
    _refuse_other_data(run / "data.json", data_fingerprint)
    write_photos(run, samples)
    keep_json(run / "data.json", record, context.console.warn)


def _refuse_other_data(path: Path, data_fingerprint: str) -> None:
    """Refuse photos or labels that differ from those that an existing data.json was written for."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))["data_fingerprint"] if path.is_file() else None
    except (OSError, ValueError, KeyError, TypeError):
        return  # it is written anew; what the networks were trained on is in their checkpoints
    if before not in (None, data_fingerprint):
        raise UsageError(
            f"{path} is of other photos or labels: some were replaced or relabelled since the run was started.\n"
            "Train into another folder with --out."
        )


def _check_folds(split: SplitConfig, folds: int) -> None:
    """Refuse settings that hold out more than the `folds` that there are people for."""
    if isinstance(split.held_out, int) and split.held_out >= folds:
        raise UsageError(f"split.held_out is {split.held_out}, but there are people for {folds} folds only")
    if split.held_out == "all" and split.folds > folds:
        raise UsageError(f"split.folds is {split.folds}, but there are people for {folds} folds only")


def _numbers(tasks: Sequence[Task], photo: Photo) -> tuple[float, ...]:
    """Return the label of each task with edges as a number; NaN for other tasks and missing labels."""
    return tuple(
        task.number(photo.labels[task.name]) if task.edges and task.name in photo.labels else float("nan")
        for task in tasks
    )


def _keep_folds(path: Path, photos: Sequence[Photo], folds: NDArray[np.intp]) -> None:
    """Write folds.csv, or make sure that an existing one has the same content."""
    columns = {"path": [p.name for p in photos], "person": [p.person for p in photos], "fold": folds.tolist()}
    table = pl.DataFrame(columns)
    text = csv_text(table)
    # Older versions wrote names that look like formulas as they are.
    if path.is_file() and path.read_text(encoding="utf-8") not in (text, table.write_csv()):
        raise UsageError(
            f"{path} does not fit these photos: some were added, removed or relabelled since the run was started.\n"
            "Train into another folder with --out."
        )
    atomic.write_text(path, text)
