"""What teachers tell of the photos that a student is trained on.

bundles, votes or runs + photos -> Taught, probabilities per task and photo; RUN/teachers.json, RUN/taught.parquet.

A teacher is surer of photos that it was trained on than of others, and passes that on. So a run, or a vote, that held
out every photo is asked for what it told of them out of fold, and only others for their bundle's predictions.

Teachers are asked once: a training that goes on must learn from the same figures, to the last bit.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache import atomic
from cache.config import fingerprint
from cache.errors import BundleError, DataError
from classify.data.sample import Sample
from classify.inference.ensemble import VOTES, Ensemble, load_ensemble
from classify.tasks import Task
from pipeline.context import RunContext
from pipeline.evaluation.out_of_fold import read_out_of_fold
from pipeline.intake.photo import Photo
from pipeline.prediction.predict import predict_photos
from pipeline.run_record import write_json

TEACHERS, TAUGHT = "teachers.json", "taught.parquet"


@dataclass(frozen=True, slots=True)
class TeacherTargets:
    """The mean of what the teachers told.

    Attributes:
        rows: photo name -> row.
        probabilities: per task, (N, C) float32; NaN where no teacher could read the photo.
    """

    rows: Mapping[str, int]
    probabilities: Mapping[str, NDArray[np.float32]]

    def of(self, samples: Sequence[Sample], tasks: Sequence[Task]) -> NDArray[np.float32]:
        """(M, classes of `tasks` side by side)."""
        rows = [self.rows[sample.name] for sample in samples]
        return np.concatenate([self.probabilities[task.name][rows] for task in tasks], axis=1)


def predict_with_teachers(
    teachers: Sequence[Path], photos: Sequence[Photo], run: Path, context: RunContext, sources: Mapping[Path, str]
) -> TeacherTargets:
    """Ask every teacher about `photos`, which all have crops.

    Raises:
        BundleError: a teacher is missing or damaged, or does not tell the student's tasks.
    """
    tasks = context.settings.task_list()
    names = [photo.name for photo in photos]
    if (before := _told_before(teachers, run, names, tasks)) is not None:
        context.console.line(f"{len(photos)} photos were taught before")
        return before
    told: list[Mapping[str, NDArray[np.float64]]] = []
    record: list[dict[str, object]] = []
    for teacher in teachers:
        own = _out_of_fold(teacher, photos, tasks, sources)
        record.append({"path": str(teacher), "out_of_fold": own is not None, "digest": _digest(teacher)})
        how = "what it told of them out of fold" if own else "its predictions, which are surer than on new photos"
        context.console.line(f"{teacher} teaches {len(photos)} photos: {how}")
        told.append(own if own is not None else _predicted(teacher, photos, tasks, context, sources))
    mean: dict[str, NDArray[np.float32]] = {}
    for task in tasks:
        parts = np.stack([own[task.name] for own in told])
        there = np.isfinite(parts)
        counted = np.where(there.any(axis=0), there.sum(axis=0), np.nan)
        mean[task.name] = (np.where(there, parts, 0).sum(axis=0) / counted).astype(np.float32)
    table = pl.DataFrame({"path": names} | {c: mean[t.name][:, i] for t in tasks for i, c in enumerate(_columns(t))})
    content = BytesIO()
    table.write_parquet(content)
    atomic.write_bytes(run / TAUGHT, content.getvalue())
    write_json(run / TEACHERS, {"teachers": record})  # last: it says that the table is there
    return _taught(table, tasks)


def _told_before(
    teachers: Sequence[Path], run: Path, names: Sequence[str], tasks: Sequence[Task]
) -> TeacherTargets | None:
    """What these teachers, unchanged since, told of these photos when the training began."""
    if not (run / TEACHERS).is_file() or not (run / TAUGHT).is_file():
        return None
    record = json.loads((run / TEACHERS).read_text(encoding="utf-8"))["teachers"]
    if [one["digest"] for one in record] != [_digest(teacher) for teacher in teachers]:
        return None
    table = pl.read_parquet(run / TAUGHT)
    wanted = ["path", *(column for task in tasks for column in _columns(task))]
    return _taught(table, tasks) if table.columns == wanted and table["path"].to_list() == list(names) else None


def _taught(table: pl.DataFrame, tasks: Sequence[Task]) -> TeacherTargets:
    told = {task.name: table.select(_columns(task)).to_numpy().astype(np.float32) for task in tasks}
    return TeacherTargets({name: row for row, name in enumerate(table["path"])}, told)


def _columns(task: Task) -> list[str]:
    return [f"p_{task.name}_{name}" for name in task.classes]


def _digest(teacher: Path) -> str:
    """Of the files in a teacher's folder that say all that it could tell."""
    files = [
        name for name in ("bundle.json", VOTES, "validation.csv", "bundle/bundle.json") if (teacher / name).is_file()
    ]
    return fingerprint({name: hashlib.sha256((teacher / name).read_bytes()).hexdigest() for name in files})


def _out_of_fold(
    teacher: Path, photos: Sequence[Photo], tasks: Sequence[Task], sources: Mapping[Path, str]
) -> Mapping[str, NDArray[np.float64]] | None:
    if not (teacher / "validation.csv").is_file():
        return None
    if (teacher / VOTES).is_file() or (teacher / "bundle").is_dir():
        _refuse_other_classes(teacher, tasks)  # its columns' names alone do not tell the edges
    try:
        pooled = read_out_of_fold([teacher], photos, tasks)
    except DataError:  # it held out other photos, so that it has not seen these
        return None
    same = [sources.get(photo.path) for photo in pooled.photos] == list(pooled.sources)  # not only of the same names
    return pooled.probabilities if same and not pooled.unknown else None


def _predicted(
    teacher: Path, photos: Sequence[Photo], tasks: Sequence[Task], context: RunContext, sources: Mapping[Path, str]
) -> Mapping[str, NDArray[np.float64]]:
    table = predict_photos(photos, _refuse_other_classes(teacher, tasks), context, sources=sources).table
    return {task.name: table.select(_columns(task)).to_numpy().astype(np.float64) for task in tasks}


def _refuse_other_classes(teacher: Path, tasks: Sequence[Task]) -> Ensemble:
    """The teacher's networks, which tell what the student is to tell."""
    is_run = not any((teacher / name).is_file() for name in ("bundle.json", VOTES))
    ensemble = load_ensemble([teacher / "bundle" if is_run else teacher])
    told = {task.name: task for task in ensemble.tasks}
    for task in tasks:
        if task.name not in told or (told[task.name].classes, told[task.name].edges) != (task.classes, task.edges):
            raise BundleError(
                f"the teacher {teacher} does not tell {task.name} with the classes {', '.join(task.classes)} and the "
                f"same edges; leave it out with --set tasks.{task.name}=null, or name another teacher"
            )
    return ensemble
