"""What teachers tell of the photos that a student is trained on.

bundles, votes or runs + photos -> Taught, probabilities per task and photo; RUN/teachers.json.

A teacher is surer of photos that it was trained on than of others, and passes that on. So a run, or a vote, that held
out every photo is asked for what it told of them out of fold, and only others for their bundle's predictions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache.errors import BundleError, DataError
from classify.samples import Sample
from classify.tasks import Task
from classify.voters import VOTES, load_voters
from pipeline.job import Job
from pipeline.out_of_fold import read_out_of_fold
from pipeline.photos import Photo
from pipeline.predicting import predict_photos
from pipeline.record import write_json


@dataclass(frozen=True, slots=True)
class Taught:
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


def ask_teachers(
    teachers: Sequence[Path], photos: Sequence[Photo], run: Path, job: Job, sources: Mapping[Path, str]
) -> Taught:
    """Ask every teacher about `photos`, which all have crops.

    Raises:
        BundleError: a teacher is missing or damaged, or does not tell the student's tasks.
    """
    tasks = job.settings.task_list()
    told: list[Mapping[str, NDArray[np.float64]]] = []
    record: list[dict[str, object]] = []
    for teacher in teachers:
        own = _out_of_fold(teacher, photos, tasks)
        record.append({"path": str(teacher), "out_of_fold": own is not None})
        how = "what it told of them out of fold" if own else "its predictions, which are surer than on new photos"
        job.show.line(f"{teacher} teaches {len(photos)} photos: {how}")
        told.append(own if own is not None else _predicted(teacher, photos, tasks, job, sources))
    write_json(run / "teachers.json", {"teachers": record})
    mean: dict[str, NDArray[np.float32]] = {}
    for task in tasks:
        parts = np.stack([own[task.name] for own in told])
        there = np.isfinite(parts)
        counted = np.where(there.any(axis=0), there.sum(axis=0), np.nan)
        mean[task.name] = (np.where(there, parts, 0).sum(axis=0) / counted).astype(np.float32)
    return Taught({photo.name: row for row, photo in enumerate(photos)}, mean)


def _out_of_fold(
    teacher: Path, photos: Sequence[Photo], tasks: Sequence[Task]
) -> Mapping[str, NDArray[np.float64]] | None:
    if not (teacher / "validation.csv").is_file():
        return None
    try:
        pooled = read_out_of_fold([teacher], photos, tasks)
    except DataError:  # it held out other photos, so that it has not seen these
        return None
    return None if pooled.unknown else pooled.probabilities


def _predicted(
    teacher: Path, photos: Sequence[Photo], tasks: Sequence[Task], job: Job, sources: Mapping[Path, str]
) -> Mapping[str, NDArray[np.float64]]:
    is_run = not any((teacher / name).is_file() for name in ("bundle.json", VOTES))
    voters = load_voters([teacher / "bundle" if is_run else teacher])
    told = {task.name: task for task in voters.tasks}
    for task in tasks:
        if task.name not in told or (told[task.name].classes, told[task.name].edges) != (task.classes, task.edges):
            raise BundleError(
                f"the teacher {teacher} does not tell {task.name} with the classes {', '.join(task.classes)} and the "
                f"same edges; leave it out with --set tasks.{task.name}=null, or name another teacher"
            )
    table = predict_photos(photos, voters, job, sources=sources).table
    return {
        task.name: table.select(f"p_{task.name}_{name}" for name in task.classes).to_numpy().astype(np.float64)
        for task in tasks
    }
