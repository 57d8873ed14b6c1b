"""The targets of a student: its teachers' probabilities for the photos that it is trained on.

In: bundles, folders of `faceline vote` or runs, and photos. Out: TeacherTargets; RUN/teachers.json and
RUN/teacher_targets.parquet.

A network is more confident about photos that it was trained on than about new ones, and a student would learn that. So
if a run or a vote held out every photo, its out-of-fold probabilities are used; all other teachers predict the photos
with their bundles.

The teachers predict only once: a training that is continued needs the same targets, to the last bit.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache import atomic
from cache.config import fingerprint
from cache.errors import BundleError, DataError
from classify.data.sample import Sample
from classify.inference.bundle_files import is_bundle, open_bundle
from classify.inference.ensemble import VOTES, Ensemble, load_ensemble
from classify.tasks import Task
from pipeline.context import RunContext
from pipeline.evaluation.out_of_fold import read_out_of_fold
from pipeline.intake.photo import Photo
from pipeline.prediction.predict import predict_photos
from pipeline.run_record import write_json
from pipeline.task_names import probability_columns

TEACHERS, TARGETS = "teachers.json", "teacher_targets.parquet"


@dataclass(frozen=True, slots=True)
class TeacherTargets:
    """The mean probabilities of the teachers."""

    rows: Mapping[str, int]  # photo name -> row
    probabilities: Mapping[str, NDArray[np.float32]]  # per task, (N, C); NaN where no teacher could read the photo

    def of(self, samples: Sequence[Sample], tasks: Sequence[Task]) -> NDArray[np.float32]:
        """Return the samples' probabilities, (M, classes of `tasks` side by side)."""
        rows = [self.rows[sample.name] for sample in samples]
        return np.concatenate([self.probabilities[task.name][rows] for task in tasks], axis=1)


def predict_with_teachers(
    teachers: Sequence[Path], photos: Sequence[Photo], run: Path, context: RunContext, sources: Mapping[Path, str]
) -> TeacherTargets:
    """Return the mean probabilities for `photos`, which all have crops, and keep them in the student's `run`.

    Raises:
        BundleError: a teacher is missing or damaged, or does not predict the student's tasks.
    """
    tasks = context.settings.task_list()
    names = [photo.name for photo in photos]
    photo_sources = [sources[photo.path] for photo in photos]
    if kept := _read_kept(teachers, run, names, photo_sources, tasks):
        context.console.line(f"the teachers' predictions are read from {run / TARGETS}")
        return kept

    # Predictions of each teacher
    predicted: list[Mapping[str, NDArray[np.float64]]] = []
    records: list[dict[str, object]] = []
    for teacher in teachers:
        probabilities = _out_of_fold(teacher, photos, tasks, sources)
        is_out_of_fold = probabilities is not None
        basis = "out-of-fold probabilities" if is_out_of_fold else "predictions, which may be of photos it knows"
        context.console.line(f"teacher {teacher}: {basis}")
        if probabilities is None:
            probabilities = _predict(teacher, photos, tasks, context, sources)
        predicted.append(probabilities)
        records.append({"path": str(teacher), "out_of_fold": is_out_of_fold, "digest": _digest(teacher)})

    # Mean over the teachers that could read a photo
    columns: dict[str, Any] = {"path": names, "source": photo_sources}
    for task in tasks:
        parts = np.stack([probabilities[task.name] for probabilities in predicted])  # (teachers, N, C)
        is_known = np.isfinite(parts)
        count = np.where(is_known.any(axis=0), is_known.sum(axis=0), np.nan)
        mean = (np.where(is_known, parts, 0).sum(axis=0) / count).astype(np.float32)
        columns |= dict(zip(probability_columns(task), mean.T, strict=True))

    # Files
    table = pl.DataFrame(columns)
    content = BytesIO()
    table.write_parquet(content)
    atomic.write_bytes(run / TARGETS, content.getvalue())
    write_json(run / TEACHERS, {"teachers": records})  # last, as it stands for a complete table
    return _to_targets(table, tasks)


def _read_kept(
    teachers: Sequence[Path], run: Path, names: Sequence[str], photo_sources: Sequence[str], tasks: Sequence[Task]
) -> TeacherTargets | None:
    """Return the targets that the run keeps, if they are those of these photos by these teachers, unchanged since.

    Older versions kept no source ids; such targets are known by the photos' names.
    """
    if not (run / TEACHERS).is_file() or not (run / TARGETS).is_file():
        return None
    records = json.loads((run / TEACHERS).read_text(encoding="utf-8"))["teachers"]
    if [record["digest"] for record in records] != [_digest(teacher) for teacher in teachers]:
        return None
    table = pl.read_parquet(run / TARGETS)
    columns = ["path", *(column for task in tasks for column in probability_columns(task))]
    is_same = (
        table.drop("source", strict=False).columns == columns
        and table["path"].to_list() == list(names)
        and ("source" not in table.columns or table["source"].to_list() == list(photo_sources))
    )
    return _to_targets(table, tasks) if is_same else None


def _to_targets(table: pl.DataFrame, tasks: Sequence[Task]) -> TeacherTargets:
    probabilities = {task.name: table.select(probability_columns(task)).to_numpy().astype(np.float32) for task in tasks}
    return TeacherTargets({name: row for row, name in enumerate(table["path"])}, probabilities)


def _digest(teacher: Path) -> str:
    """Return a digest of the files in a teacher's folder that decide its predictions."""
    if teacher.is_file():
        return open_bundle(teacher).digest
    names = ("bundle.json", VOTES, "validation.csv", "bundle/bundle.json")
    present = [name for name in names if (teacher / name).is_file()]
    return fingerprint({name: hashlib.sha256((teacher / name).read_bytes()).hexdigest() for name in present})


def _out_of_fold(
    teacher: Path, photos: Sequence[Photo], tasks: Sequence[Task], sources: Mapping[Path, str]
) -> Mapping[str, NDArray[np.float64]] | None:
    """Return the teacher's out-of-fold probabilities per task, (N, C), unless it lacks them for any of the photos."""
    if not (teacher / "validation.csv").is_file():
        return None
    if (teacher / VOTES).is_file() or (teacher / "bundle").is_dir():
        _load_teacher(teacher, tasks)  # refuses other edges, which the names of the columns do not show
    try:
        pooled = read_out_of_fold([teacher], photos, tasks, sources)
    except DataError:  # it held out other photos
        return None
    return None if pooled.unknown else pooled.probabilities


def _predict(
    teacher: Path, photos: Sequence[Photo], tasks: Sequence[Task], context: RunContext, sources: Mapping[Path, str]
) -> Mapping[str, NDArray[np.float64]]:
    """Predict the photos with the teacher's bundles; returns (N, C) per task, NaN for a photo that can't be read."""
    table = predict_photos(photos, _load_teacher(teacher, tasks), context, sources=sources).table
    return {task.name: table.select(probability_columns(task)).to_numpy().astype(np.float64) for task in tasks}


def refuse_wrong_teachers(teachers: Sequence[Path], tasks: Sequence[Task]) -> None:
    """Raise BundleError if a teacher is missing or damaged, or does not predict the student's tasks."""
    for teacher in teachers:
        is_folder_of_validation = (teacher / "validation.csv").is_file() and not (teacher / "bundle").is_dir()
        if not is_folder_of_validation or (teacher / VOTES).is_file():
            _load_teacher(teacher, tasks)


def _load_teacher(teacher: Path, tasks: Sequence[Task]) -> Ensemble:
    """Load a teacher, which must predict the student's tasks."""
    is_run = not is_bundle(teacher) and not (teacher / VOTES).is_file()
    ensemble = load_ensemble([teacher / "bundle" if is_run else teacher])
    predicted = {task.name: (task.classes, task.edges) for task in ensemble.tasks}
    for task in tasks:
        if predicted.get(task.name) != (task.classes, task.edges):
            raise BundleError(
                f"the teacher {teacher} does not predict {task.name} with the classes {', '.join(task.classes)} and "
                f"the same edges; leave it out with --set tasks.{task.name}=null, or name another teacher"
            )
    return ensemble
