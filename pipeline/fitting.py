"""The training stage: labelled photos with crops -> folds -> one trained network per task -> bundle.

RUN/ gets folds.csv, data.json, metrics.jsonl, TASK/last.* and best.*, validation.csv and bundle/.
"""

import json
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache import atomic
from cache.config import fingerprint
from cache.errors import DataError, UsageError
from classify.augment import Augmenter
from classify.bundle import Bundle, TaskNetwork, save_bundle, task_network
from classify.config import TaskConfig
from classify.folds import join_people, make_folds
from classify.metrics import Score, score
from classify.prediction import probabilities
from classify.ranks import Ranks
from classify.samples import Sample, rows_to_train, rows_to_validate
from classify.tasks import UNLABELLED, Task, encode_labels, joint_class, joint_names
from classify.training import Line, Machine, TaskData, train_task
from pipeline.detection import Detection
from pipeline.job import Job
from pipeline.packing import training_pixels, with_crops
from pipeline.photos import Corrected, Photo
from pipeline.predicting import crop_settings, prediction_columns
from pipeline.record import write_json


def train_run(
    photos: Sequence[Photo], detection: Detection, run: Path, job: Job, corrections: Sequence[Corrected] = ()
) -> dict[str, Score]:
    """Train every task and write the bundle; `corrections` were made in the photos' labels.

    Returns:
        The scores on the held-out fold: "joint" and one per task; empty when nothing was held out.

    Raises:
        DataError: a task has no labelled photo to train on, or there are too few people.
        UsageError: the run folder was made from other photos.
    """
    tasks, seed = job.settings.task_list(), job.settings.seed
    samples = _make_samples(photos, detection, tasks, run, job)
    _record_data(samples, photos, detection, tasks, run, corrections)
    _show_counts(samples, tasks, job)
    machine = Machine(job.torch_device(), job.loader_workers(), job.ranks)
    lines: dict[str, list[Line]] = {}
    networks: list[TaskNetwork] = []
    told: dict[str, NDArray[np.float32]] = {}
    held_out = np.flatnonzero([sample.fold == job.settings.split.held_out for sample in samples])
    for index, task in enumerate(tasks):
        config = job.settings.tasks[task.name]
        data = _shared(_task_data(samples, index, config, detection, job), run, job.ranks)
        report = _reporter(lines, task, run, job)
        network = train_task(task, config, data, run / task.name, seed=seed, machine=machine, report=report)
        networks.append(task_network(task, config.model, network))
        network.to(machine.device)
        told[task.name] = probabilities(
            network,
            data.pixels[held_out],
            networks[-1].normalise,
            machine.device,
            flip=job.settings.predict.flip,
        )
        network.cpu()
    scores = _validate([samples[i] for i in held_out], detection, tasks, told, run)
    save_bundle(run / "bundle", _bundle(networks, samples, tasks, scores, job))
    return scores


def train_along(run: Path, job: Job) -> None:
    """What `train_run` in rank 0 is beside: the other processes' part of every task's training."""
    machine = Machine(job.torch_device(), job.loader_workers(), job.ranks)
    for task in job.settings.task_list():
        data, config = _shared(None, run, job.ranks), job.settings.tasks[task.name]
        train_task(task, config, data, run / task.name, seed=job.settings.seed, machine=machine, report=_say_nothing)


def _make_samples(
    photos: Sequence[Photo], detection: Detection, tasks: Sequence[Task], run: Path, job: Job
) -> list[Sample]:
    kept = with_crops(photos, detection)
    sources = [detection.sources[photo.path] for photo in kept]
    codes = [encode_labels(tasks, photo.labels) for photo in kept]
    joint = np.array([joint_class(tasks, code) for code in codes], dtype=np.intp)
    groups = join_people([photo.person for photo in kept], sources)
    split = job.settings.split
    folds = make_folds(groups, joint, folds=split.folds, seed=job.settings.seed if split.seed is None else split.seed)
    _keep_folds(run / "folds.csv", kept, folds)
    if split.held_out is not None and split.held_out > folds.max():
        raise UsageError(f"split.held_out is {split.held_out}, and there are people for {folds.max() + 1} folds only")
    return [
        Sample(photo.name, source, photo.person, code, _numbers(tasks, photo), int(fold))
        for photo, source, code, fold in zip(kept, sources, codes, folds, strict=True)
    ]


def _numbers(tasks: Sequence[Task], photo: Photo) -> tuple[float, ...]:
    return tuple(
        task.number(photo.labels[task.name]) if task.edges and task.name in photo.labels else float("nan")
        for task in tasks
    )


def _keep_folds(path: Path, photos: Sequence[Photo], folds: NDArray[np.intp]) -> None:
    """Write folds.csv, or make sure that the one that is there says the same."""
    table = pl.DataFrame(
        {"path": [p.name for p in photos], "person": [p.person for p in photos], "fold": folds.tolist()}
    )
    text = table.write_csv()
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise UsageError(
            f"{path} does not fit these photos: some were added, removed or relabelled since the run began.\n"
            "Train into another folder with --out."
        )
    atomic.write_text(path, text)


def _record_data(
    samples: Sequence[Sample],
    photos: Sequence[Photo],
    detection: Detection,
    tasks: Sequence[Task],
    run: Path,
    corrections: Sequence[Corrected],
) -> None:
    members = sorted([sample.source, list(sample.codes)] for sample in samples)
    write_json(
        run / "data.json",
        {
            "data_fingerprint": fingerprint({"members": members}),
            "folds_fingerprint": fingerprint({"folds": [[s.name, s.person, s.fold] for s in samples]}),
            "crop_fingerprint": detection.store.fingerprint,
            "photos": len(photos),
            "trained_on": len(samples),
            "people": len({sample.person for sample in samples}),
            "found_by": detection.summary(photos)["found_by"],
            "classes": {
                task.name: dict(zip(task.classes, _class_counts(samples, i, len(task.classes)), strict=True))
                for i, task in enumerate(tasks)
            },
            "corrections": [one.as_json() for one in corrections],
            "joint": dict(Counter(joint_names(tasks)[j] for s in samples if (j := joint_class(tasks, s.codes)) >= 0)),
        },
    )


def _class_counts(samples: Sequence[Sample], task_index: int, classes: int) -> list[int]:
    codes = np.array([s.codes[task_index] for s in samples], dtype=np.intp)
    return np.bincount(codes[codes != UNLABELLED], minlength=classes).tolist()


def _show_counts(samples: Sequence[Sample], tasks: Sequence[Task], job: Job) -> None:
    """The table of what each class is trained on, before anything is trained."""
    rows: list[list[object]] = []
    for index, task in enumerate(tasks):
        config = job.settings.tasks[task.name]
        train = rows_to_train(samples, index, config, job.settings.split.held_out)
        validate = rows_to_validate(samples, index, job.settings.split.held_out)
        codes = [samples[i].codes[index] for i in train]
        checked = np.bincount([samples[i].codes[index] for i in validate], minlength=len(task.classes))
        counts = Augmenter(task, config.augment, config.model.input).counts(codes)
        for name, (photos, shown), held_out in zip(task.classes, counts, checked, strict=True):
            rows.append([f"{task.name} {name}", photos, shown, int(held_out)])
            if not shown:
                job.show.warn(
                    f"{task.name}: no photo of class {name!r} is left to train on ({held_out} are held out), so it "
                    "will never be told; add labelled photos of it"
                )
        if not codes:
            leave_out = f"--set tasks.{task.name}=null"
            raise DataError(f"{task.name}: no labelled photo is left to train on; leave the task out with {leave_out}")
    job.show.table("Training on", ["class", "photos", "shown an epoch", "held out"], rows, remark=True)


def _task_data(samples: Sequence[Sample], index: int, config: TaskConfig, detection: Detection, job: Job) -> TaskData:
    return TaskData(
        training_pixels([sample.source for sample in samples], config.model, detection, job),
        np.array([sample.codes[index] for sample in samples], dtype=np.intp),
        rows_to_train(samples, index, config, job.settings.split.held_out),
        rows_to_validate(samples, index, job.settings.split.held_out),
    )


def _shared(data: TaskData | None, run: Path, ranks: Ranks) -> TaskData:
    """The task's data, which rank 0 has, for every process: it tells the labels, and the pack is on a disk of all."""
    if data is not None and ranks.world == 1:
        return data
    told = ranks.from_first(lambda: _told(data) if data else {})
    if data is not None:
        return data
    for path in (run / "config.yaml", Path(told["pixels"])):
        if not path.is_file():
            where = f"rank {ranks.rank} on {socket.gethostname()}"
            raise UsageError(f"{where} does not see {path}: --out and --cache must be on a disk that all processes see")
    rows = {name: np.array(told[name], dtype=np.intp) for name in ("codes", "train", "validate")}
    return TaskData(np.load(told["pixels"], mmap_mode="r", allow_pickle=False), **rows)


def _told(data: TaskData) -> dict[str, Any]:
    if not isinstance(data.pixels, np.memmap) or not data.pixels.filename:
        raise UsageError(
            "the cache can't be written, and several processes read the pack from there; name another --cache"
        )
    rows = {"codes": data.codes.tolist(), "train": data.train.tolist(), "validate": data.validate.tolist()}
    return {"pixels": str(Path(data.pixels.filename).resolve()), **rows}


def _say_nothing(_: list[Line]) -> None:
    """Rank 0 reports."""


def _reporter(lines: dict[str, list[Line]], task: Task, run: Path, job: Job) -> Callable[[list[Line]], None]:
    epochs = job.settings.tasks[task.name].train.epochs

    def report(history: list[Line]) -> None:
        lines[task.name] = history
        # Written whole from the checkpoints' histories: after a kill no line is there twice and none is missing.
        every = [json.dumps(line, allow_nan=False) + "\n" for one in lines.values() for line in one]
        atomic.write_text(run / "metrics.jsonl", "".join(every))
        last = history[-1]
        held_out = f", macro-F1 {last['macro_f1']:.3f}" if "macro_f1" in last else ""
        job.show.line(f"{task.name}: epoch {last['epoch']} of {epochs}, loss {last['train_loss']:.3f}{held_out}")

    return report


def _validate(
    samples: Sequence[Sample],
    detection: Detection,
    tasks: Sequence[Task],
    told: dict[str, NDArray[np.float32]],
    run: Path,
) -> dict[str, Score]:
    """Score the held-out fold and keep its predictions with the truth beside them."""
    if not samples:
        return {}
    table = prediction_columns(tasks, told)
    truth = {f"true_{task.name}": [s.codes[i] for s in samples] for i, task in enumerate(tasks)}
    names = {"path": [s.name for s in samples], "person": [s.person for s in samples],
             "source": [s.source for s in samples]}  # fmt: skip
    pl.DataFrame({**names, **truth, **table}).write_csv(run / "validation.csv")
    scores: dict[str, Score] = {}
    answers = {task.name: told[task.name].argmax(axis=1) for task in tasks}
    joint_told = np.array([joint_class(tasks, code) for code in zip(*answers.values(), strict=True)], dtype=np.intp)
    joint_truth = np.array([joint_class(tasks, sample.codes) for sample in samples], dtype=np.intp)
    pairs = {"joint": (joint_truth, joint_told, len(joint_names(tasks)))}
    for index, task in enumerate(tasks):
        codes = np.array([sample.codes[index] for sample in samples], dtype=np.intp)
        pairs[task.name] = (codes, answers[task.name], len(task.classes))
    for name, (truth_codes, told_codes, classes) in pairs.items():
        labelled = truth_codes != UNLABELLED
        if labelled.any():
            people = [s.person for s, there in zip(samples, labelled, strict=True) if there]
            scores[name] = score(truth_codes[labelled], told_codes[labelled], people, classes)
    return scores


def _bundle(
    networks: Sequence[TaskNetwork],
    samples: Sequence[Sample],
    tasks: Sequence[Task],
    scores: dict[str, Score],
    job: Job,
) -> Bundle:
    known = Counter(j for s in samples if (j := joint_class(tasks, s.codes)) != UNLABELLED)
    return Bundle(
        tuple(networks),
        crop_settings(job.settings.detect, job.settings.crop),
        {name: one.as_json() for name, one in scores.items()},
        known.most_common(1)[0][0] if known else 0,
        job.settings.predict.flip,
    )
