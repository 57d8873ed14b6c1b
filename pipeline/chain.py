"""The whole chain: check, detect, split, train, evaluate, predict, report.

DATA -> RUN/ with everything that DESIGN calls a run. Each stage keeps what it has done, so that the same command
after a kill goes on where it stopped.
"""

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache.errors import DataError
from pipeline.check import check_data
from pipeline.correcting import load_labelled
from pipeline.detection import detect_photos, source_ids
from pipeline.job import Job
from pipeline.photos import Dataset
from pipeline.record import end_run, start_run

if TYPE_CHECKING:
    from classify.metrics import Score


@dataclass(frozen=True, slots=True)
class Finished:
    """What a run came to.

    Attributes:
        run: its folder.
        scores: on the held-out fold, "joint" first.
        counts: predicted photos per status; empty when there was nothing to predict.
        seconds: per stage.
    """

    run: Path
    scores: Mapping[str, "Score"]
    counts: Mapping[str, int]
    seconds: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """What `run --json` ends with."""
        return {
            "run": str(self.run),
            "validation": {name: score.as_json() for name, score in self.scores.items()},
            "predicted": dict(self.counts),
            "seconds": dict(self.seconds),
        }


@dataclass(frozen=True, slots=True)
class Intake:
    """A data set that was looked through and found usable, to be run on any number of times.

    Attributes:
        dataset: its photos.
        sources: file -> source id, of the files that could be read.
    """

    dataset: Dataset
    sources: Mapping[Path, str]


@dataclass
class Stopwatch:
    """Seconds per stage."""

    seconds: dict[str, float] = field(default_factory=dict[str, float])

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Time one stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(time.perf_counter() - started, 2)


def train_data(data: Path, run: Path, job: Job, teachers: Sequence[Path] = ()) -> Finished:
    """`faceline train`, and with teachers `faceline distill`: everything up to the bundle."""
    return _run(data, run, job, predict=False, teachers=teachers)


def take_in(data: Path, job: Job, *, predict: bool = False) -> Intake:
    """Look through `data` and hash its files: the labelled photos, and with `predict` those of the eval part.

    Raises:
        DataError: something fatal is wrong with it, or there is nothing to train on.
    """
    tasks = job.settings.task_list()
    dataset = usable(load_labelled(data, job.settings))
    if not dataset.train:
        raise DataError(f"{data} holds no labelled photos to train on; `faceline check {data}` says what it holds")
    photos = [*dataset.train, *(dataset.evaluation if predict else ())]
    sources = source_ids([photo.path for photo in photos], job)
    usable(check_data(dataset, tasks, decode=None, digests=sources).dataset)
    return Intake(dataset, sources)


def train_intake(intake: Intake, run: Path, job: Job) -> Finished:
    """Train on what was taken in already, with settings that read the same labels."""
    return _carry_out(intake, run, job, Stopwatch(), predict=False)


def run_chain(data: Path, run: Path, job: Job) -> Finished:
    """`faceline run`: everything, with the predictions of the data set's eval part and the report."""
    return _run(data, run, job, predict=True)


def usable(dataset: Dataset) -> Dataset:
    """The data set, when nothing fatal is wrong with it.

    Raises:
        DataError: something is; the message names the first few and the command that lists all.
    """
    fatal = [defect for defect in dataset.defects if defect.fatal]
    if fatal:
        told = "\n".join(f"{defect.where}: {defect.message}" for defect in fatal[:5])
        more = f"\n... and {len(fatal) - 5} more" if len(fatal) > 5 else ""
        raise DataError(f"{told}{more}\nfaceline check {dataset.root} lists everything.")
    return dataset


def _run(data: Path, run: Path, job: Job, *, predict: bool, teachers: Sequence[Path] = ()) -> Finished:
    """Rank 0 does everything but the training alone; the other processes of a training only train along."""
    with job.ranks.group(job.torch_device()):
        if job.ranks.is_first:
            return _lead(data, run, job, teachers, predict=predict)
        from pipeline.fitting import train_along

        train_along(run, job)
        return Finished(run, {}, {}, {})


def _lead(data: Path, run: Path, job: Job, teachers: Sequence[Path], *, predict: bool) -> Finished:
    watch = Stopwatch()
    with watch.stage("check"):
        intake = take_in(data, job, predict=predict)
    return _carry_out(intake, run, job, watch, predict=predict, teachers=teachers)


def _carry_out(
    intake: Intake, run: Path, job: Job, watch: Stopwatch, *, predict: bool, teachers: Sequence[Path] = ()
) -> Finished:
    from classify.augment import augmenter_of
    from classify.optimisation import refuse_without_compiler
    from classify.plan import plan_networks

    for plan in plan_networks(job.settings.tasks):  # settings that contradict each other leave no run behind
        augmenter_of(plan)
        refuse_without_compiler(plan.train)
    record = start_run(run, job.settings, device=job.torch_device(), processes=job.ranks.world)
    status = "failed"
    try:
        finished = _stages(intake, run, job, watch, teachers, predict=predict)
        status = "finished"
        return finished
    except (KeyboardInterrupt, SystemExit):
        status = "stopped"
        raise
    finally:
        end_run(run, record, status=status, stages=watch.seconds)
        if status == "finished" and predict:
            from pipeline.report import write_report

            write_report(run, job.cache)


def _stages(
    intake: Intake, run: Path, job: Job, watch: Stopwatch, teachers: Sequence[Path], *, predict: bool
) -> Finished:
    from classify.voters import load_voters
    from pipeline.distilling import ask_teachers
    from pipeline.fitting import train_run
    from pipeline.packing import with_crops
    from pipeline.predicting import predict_photos, write_predictions

    dataset, sources = intake.dataset, intake.sources
    with watch.stage("detect"):
        everyone = [*dataset.train, *(dataset.evaluation if predict else ())]
        detection = detect_photos(everyone, job, sources=sources)
        summary = detection.summary(everyone)
        job.show.line(f"crops: {summary['found_by']}, unreadable {summary['unreadable']}")
    taught = None
    if teachers:
        with watch.stage("ask"):
            taught = ask_teachers(teachers, with_crops(dataset.train, detection), run, job, sources)
    with watch.stage("train"):
        scores = train_run(dataset.train, detection, run, job, dataset.corrections, taught)
    counts: Mapping[str, int] = {}
    if predict:
        with watch.stage("predict"):
            # Without an eval part the labelled photos are predicted: then validation.csv is the honest half of them.
            wanted = dataset.evaluation or dataset.train
            predictions = predict_photos(wanted, load_voters([run / "bundle"]), job, sources=sources)
            write_predictions(predictions, run, dataset.asked)
            counts = predictions.counts
    return Finished(run, scores, counts, watch.seconds)
