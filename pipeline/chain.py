"""The whole chain: check, detect, predict with teachers, train, predict, report.

In: a data set. Out: RUN/ with its bundle, scores and, for `faceline run`, predictions and report.

Each stage keeps its results on disk, so the same command continues where a killed run stopped.
"""

import shlex
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache.errors import DataError
from pipeline.context import RunContext
from pipeline.detection.cropped_faces import note_on_crops
from pipeline.detection.detect import detect_photos, source_ids
from pipeline.intake.check import check_data
from pipeline.intake.corrections import load_labelled
from pipeline.intake.photo import Dataset
from pipeline.intake.reading_report import reading_json, show_reading
from pipeline.run_record import recorded_run, refuse_other_settings

if TYPE_CHECKING:
    from classify.evaluation.metrics import Score

TRACKED_CROPS = 70  # on the sheet that trackers get


@dataclass(frozen=True, slots=True)
class Finished:
    """The outcome of a run."""

    run: Path
    scores: Mapping[str, "Score"]  # on the held-out photos, "joint" first
    counts: Mapping[str, int]  # predicted photos per status; empty when nothing was predicted
    seconds: Mapping[str, float]  # per stage
    reading: Mapping[str, Any] = field(default_factory=dict[str, Any])  # how the data was read, as in `reading_json`

    def as_json(self) -> dict[str, Any]:
        """The JSON object that `run --json` prints last."""
        return {
            "run": str(self.run),
            "validation": {name: score.as_json() for name, score in self.scores.items()},
            "predicted": dict(self.counts),
            "seconds": dict(self.seconds),
            **self.reading,
        }


@dataclass(frozen=True, slots=True)
class ValidatedDataset:
    """A data set that passed the check; any number of runs can train on it."""

    dataset: Dataset
    sources: Mapping[Path, str]  # file -> source id, for the files that could be read


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Generator[None]:
    """Add the seconds that a stage, or a part of it, takes to `seconds`."""
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds[stage] = round(seconds.get(stage, 0.0) + time.perf_counter() - started, 2)


def train_data(data: Path, run: Path, context: RunContext, teachers: Sequence[Path] = ()) -> Finished:
    """Check, detect and train, as `faceline train` does, or with teachers `faceline distill`."""
    return _run_stages(data, run, context, predict=False, teachers=teachers)


def train_on(validated: ValidatedDataset, run: Path, context: RunContext) -> Finished:
    """Detect and train on a data set that `validate` returned for settings that read the same labels."""
    return _run_stages(validated, run, context, predict=False)


def run_chain(data: Path, run: Path, context: RunContext) -> Finished:
    """Run all stages, as `faceline run` does: training, predictions for the data set's eval part, and the report."""
    return _run_stages(data, run, context, predict=True)


def load_trainable(data: Path, context: RunContext) -> Dataset:
    """Load `data`, without reading its photos.

    Raises:
        DataError: there is a fatal defect, or there is nothing to train on.
    """
    dataset = load_labelled(data, context.settings).require_usable()
    if not dataset.train:
        check = f"faceline check {shlex.quote(str(data))}"
        message = f"{data} holds no labelled photos to train on; `{check}` says what it holds"
        raise DataError("\n".join([message, *dataset.notes]))
    show_reading(dataset, context.console, scores=True)
    return dataset


def validate(dataset: Dataset, context: RunContext, *, predict: bool = False) -> ValidatedDataset:
    """Hash and check the photos of a data set: the labelled ones, and with `predict` those of the eval part.

    Raises:
        DataError: the check found a fatal defect.
    """
    tasks = context.settings.task_list()
    photos = [*dataset.train, *(dataset.evaluation if predict else ())]
    sources = source_ids([photo.path for photo in photos], context)
    check_data(dataset, tasks, decode=None, digests=sources).dataset.require_usable()
    return ValidatedDataset(dataset, sources)


def _run_stages(
    data: Path | ValidatedDataset, run: Path, context: RunContext, *, predict: bool, teachers: Sequence[Path] = ()
) -> Finished:
    """Run the stages in order. Of several processes, rank 0 runs all; the others only take part in the training."""
    seconds: dict[str, float] = {}

    # What can be refused at once, before torch and the rest are imported, which takes seconds.
    loaded: Dataset | ValidatedDataset | None = None
    if context.ranks.is_main:
        refuse_other_settings(run, context.settings)
        with _timed(seconds, "check"):
            loaded = data if isinstance(data, ValidatedDataset) else load_trainable(data, context)

    from classify.inference.ensemble import load_ensemble
    from pipeline.prediction.predict import predict_photos
    from pipeline.prediction.prediction_files import write_predictions
    from pipeline.reports.contact_sheets import crop_sheet
    from pipeline.reports.model_card import write_card
    from pipeline.training.curves import read_curves
    from pipeline.training.packed_crops import with_crops
    from pipeline.training.run_photos import refuse_replaced_photos
    from pipeline.training.settings_check import refuse_unusable_settings
    from pipeline.training.teacher_targets import predict_with_teachers, refuse_wrong_teachers
    from pipeline.training.trackers import tracked_run
    from pipeline.training.train import train_as_worker, train_run

    device = context.torch_device()
    with context.ranks.process_group(device):
        if loaded is None:
            train_as_worker(run, context)
            return Finished(run, {}, {}, {})

        # Check: settings, then photos, before there is a run folder.
        with _timed(seconds, "check"):
            refuse_unusable_settings(context.settings)
            refuse_wrong_teachers(teachers, context.settings.task_list())
            validated = validate(loaded, context, predict=predict) if isinstance(loaded, Dataset) else loaded
        dataset, sources = validated.dataset, validated.sources
        refuse_replaced_photos(run, dataset.train, sources)

        record = recorded_run(
            run,
            context.settings,
            data=data if isinstance(data, Path) else dataset.root,
            device=device,
            processes=context.ranks.world_size,
            seconds=seconds,
            warn=context.console.warn,
        )
        with record, tracked_run(run, context.settings, context.console) as trackers:
            # Detect
            with _timed(seconds, "detect"):
                photos = [*dataset.train, *(dataset.evaluation if predict else ())]
                detection = detect_photos(photos, context, sources=sources)
                summary = detection.summary(photos)
                context.console.line(f"crops: {summary['found_by']}, unreadable {summary['unreadable']}")
                trackers.picture("crops", lambda: crop_sheet(dataset.train[:TRACKED_CROPS], detection))
                if cropped := note_on_crops(map(detection.entry, photos)):
                    context.console.warn(cropped)

            # Teachers
            teacher_targets = None
            if teachers:
                with _timed(seconds, "teachers"):
                    readable = with_crops(dataset.train, detection)
                    teacher_targets = predict_with_teachers(teachers, readable, run, context, sources)

            # Train
            with _timed(seconds, "train"):
                corrections = dataset.corrections
                scores = train_run(dataset.train, detection, run, context, corrections, teacher_targets, trackers)
                write_card(run / "bundle", context.console.warn)
                trackers.picture("curves", partial(read_curves, run))
                trackers.log_outcome({name: score.as_json() for name, score in scores.items()}, run / "bundle")

            # Predict
            counts: Mapping[str, int] = {}
            if predict:
                with _timed(seconds, "predict"):
                    # Without an eval part, the labelled photos are predicted; only the held-out ones are new.
                    photos = dataset.evaluation or dataset.train
                    predictions = predict_photos(photos, load_ensemble([run / "bundle"]), context, sources=sources)
                    write_predictions(predictions, run, dataset.submission_ids)
                    counts = predictions.counts

        # Report: of the finished run, whose run.json it reads.
        if predict:
            from pipeline.reports.run_report import write_report

            write_report(run, context.cache, device=device)
        return Finished(run, scores, counts, seconds, reading_json(dataset))
