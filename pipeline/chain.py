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
from pipeline.context import RunContext
from pipeline.detection.detect import detect_photos, source_ids
from pipeline.intake.check import check_data
from pipeline.intake.corrections import load_labelled
from pipeline.intake.photo import Dataset
from pipeline.run_record import end_run, start_run

if TYPE_CHECKING:
    from classify.evaluation.metrics import Score


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
class ValidatedDataset:
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


def train_data(data: Path, run: Path, context: RunContext, teachers: Sequence[Path] = ()) -> Finished:
    """`faceline train`, and with teachers `faceline distill`: everything up to the bundle."""
    return _run(data, run, context, predict=False, teachers=teachers)


def load_and_validate(data: Path, context: RunContext, *, predict: bool = False) -> ValidatedDataset:
    """Look through `data` and hash its files: the labelled photos, and with `predict` those of the eval part.

    Raises:
        DataError: something fatal is wrong with it, or there is nothing to train on.
    """
    tasks = context.settings.task_list()
    dataset = load_labelled(data, context.settings).require_usable()
    if not dataset.train:
        raise DataError(f"{data} holds no labelled photos to train on; `faceline check {data}` says what it holds")
    photos = [*dataset.train, *(dataset.evaluation if predict else ())]
    sources = source_ids([photo.path for photo in photos], context)
    check_data(dataset, tasks, decode=None, digests=sources).dataset.require_usable()
    return ValidatedDataset(dataset, sources)


def train_on(intake: ValidatedDataset, run: Path, context: RunContext) -> Finished:
    """Train on what was taken in already, with settings that read the same labels."""
    return _carry_out(intake, run, context, Stopwatch(), predict=False)


def run_chain(data: Path, run: Path, context: RunContext) -> Finished:
    """`faceline run`: everything, with the predictions of the data set's eval part and the report."""
    return _run(data, run, context, predict=True)


def _run(data: Path, run: Path, context: RunContext, *, predict: bool, teachers: Sequence[Path] = ()) -> Finished:
    """Rank 0 does everything but the training alone; the other processes of a training only train along."""
    with context.ranks.group(context.torch_device()):
        if context.ranks.is_first:
            return _lead(data, run, context, teachers, predict=predict)
        from pipeline.training.train import train_as_worker

        train_as_worker(run, context)
        return Finished(run, {}, {}, {})


def _lead(data: Path, run: Path, context: RunContext, teachers: Sequence[Path], *, predict: bool) -> Finished:
    watch = Stopwatch()
    with watch.stage("check"):
        intake = load_and_validate(data, context, predict=predict)
    return _carry_out(intake, run, context, watch, predict=predict, teachers=teachers)


def _carry_out(
    intake: ValidatedDataset,
    run: Path,
    context: RunContext,
    watch: Stopwatch,
    *,
    predict: bool,
    teachers: Sequence[Path] = (),
) -> Finished:
    from classify.data.augmentation import augmenter_of
    from classify.models.plan import plan_networks
    from classify.training.optimisation import refuse_without_compiler

    for plan in plan_networks(context.settings.tasks):  # settings that contradict each other leave no run behind
        augmenter_of(plan)
        refuse_without_compiler(plan.train)
    record = start_run(run, context.settings, device=context.torch_device(), processes=context.ranks.world)
    status = "failed"
    try:
        finished = _stages(intake, run, context, watch, teachers, predict=predict)
        status = "finished"
        return finished
    except (KeyboardInterrupt, SystemExit):
        status = "stopped"
        raise
    finally:
        end_run(run, record, status=status, stages=watch.seconds)
        if status == "finished" and predict:
            from pipeline.reports.run_report import write_report

            write_report(run, context.cache)


def _stages(
    intake: ValidatedDataset,
    run: Path,
    context: RunContext,
    watch: Stopwatch,
    teachers: Sequence[Path],
    *,
    predict: bool,
) -> Finished:
    from classify.inference.ensemble import load_ensemble
    from pipeline.prediction.predict import predict_photos, write_predictions
    from pipeline.training.packed_crops import with_crops
    from pipeline.training.teacher_targets import predict_with_teachers
    from pipeline.training.train import train_run

    dataset, sources = intake.dataset, intake.sources
    with watch.stage("detect"):
        everyone = [*dataset.train, *(dataset.evaluation if predict else ())]
        detection = detect_photos(everyone, context, sources=sources)
        summary = detection.summary(everyone)
        context.console.line(f"crops: {summary['found_by']}, unreadable {summary['unreadable']}")
    taught = None
    if teachers:
        with watch.stage("ask"):
            taught = predict_with_teachers(teachers, with_crops(dataset.train, detection), run, context, sources)
    with watch.stage("train"):
        scores = train_run(dataset.train, detection, run, context, dataset.corrections, taught)
    counts: Mapping[str, int] = {}
    if predict:
        with watch.stage("predict"):
            # Without an eval part the labelled photos are predicted: then validation.csv is the honest half of them.
            wanted = dataset.evaluation or dataset.train
            predictions = predict_photos(wanted, load_ensemble([run / "bundle"]), context, sources=sources)
            write_predictions(predictions, run, dataset.submission_ids)
            counts = predictions.counts
    return Finished(run, scores, counts, watch.seconds)
