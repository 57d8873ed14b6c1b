"""What `faceline predict` does once everything is checked.

In: PredictPlan. Out: the files in its folder, and PredictedPhotos, which says what was done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cache.errors import UsageError
from classify.inference.ensemble import Ensemble, load_ensemble
from detect.every_face import MIN_FACE, MIN_SCORE
from pipeline.commands.predict_options import Engine, Format, PredictOptions
from pipeline.commands.predict_plan import PredictPlan
from pipeline.console import counted
from pipeline.context import RunContext
from pipeline.intake.photo import Dataset
from pipeline.intake.sources import OpenedSources
from pipeline.prediction.every_face import FaceSearch
from pipeline.prediction.part_store import PartPlan, PartStore
from pipeline.prediction.picture_files import DrawnPictures, SortedPhotos
from pipeline.prediction.predict import warn_of_dropped_factors, warn_of_precision
from pipeline.prediction.predict_parts import Cluster, predict_parts, write_parts
from pipeline.prediction.predict_settings import with_predict_settings
from pipeline.prediction.predict_sources import SourcePredictor
from pipeline.prediction.prediction import Prediction
from pipeline.prediction.prediction_files import write_predictions
from pipeline.prediction.prediction_record import PREDICTIONS, PredictionRecord


@dataclass(frozen=True, slots=True)
class PredictedPhotos:
    """What was done.

    Attributes:
        dataset: the inputs as they were read, also those inside archives.
        record: of the rows.
        count: photos, of which some may have several rows.
        place: the table, or the folder of parts.
        facts: more for the JSON object.
        notes: more for the reader.
    """

    dataset: Dataset
    record: PredictionRecord
    count: int
    place: Path
    facts: Mapping[str, object] = field(default_factory=dict[str, object])
    notes: Sequence[str] = ()


def predict_as_planned(
    options: PredictOptions, plan: PredictPlan, context: RunContext, workers: int | None
) -> PredictedPhotos:
    """Predict the photos and write the files.

    Args:
        options: of the command.
        plan: of the same command.
        context: cache, device, workers, console and settings.
        workers: as --workers says.

    Raises:
        BundleError, UsageError: the bundles can't be used, or not as the options say.
    """
    ensemble = with_predict_settings(load_ensemble(options.bundle), context.settings.predict, context.console)
    tasks = [task.name for task in ensemble.tasks]
    if unknown := set(options.sort_by) - set(tasks):
        raise UsageError(f"--sort-by {min(unknown)}: the bundle predicts {', '.join(tasks)}")
    warn_of_dropped_factors(ensemble, context.console)
    warn_of_precision(context)
    search = FaceSearch(options.min_face or MIN_FACE, options.min_score or MIN_SCORE) if options.every_face else None
    if plan.parts is not None and options.draw is None and options.sort is None:
        store = PartStore(plan.out, plan.parts)
        if options.divided_by or plan.parts.count > 1 or store.has_any():
            return _predict_in_parts(options, plan, plan.parts, store, ensemble, context, search, workers)
    return _predict_in_one_go(options, plan, ensemble, context, search)


def _predict_in_parts(
    options: PredictOptions,
    plan: PredictPlan,
    parts: PartPlan,
    store: PartStore,
    ensemble: Ensemble,
    context: RunContext,
    search: FaceSearch | None,
    workers: int | None,
) -> PredictedPhotos:
    """Predict the parts that are missing, and join all, unless this is a shard."""
    cluster = Cluster(options.bundle, workers) if options.engine is Engine.RAY else None
    predicted = predict_parts(
        parts, store, ensemble, context,
        search=search, keep_crops=options.keep_crops, shard=plan.shard, cluster=cluster,
    )  # fmt: skip
    notes: list[str] = []
    if before := predicted.photos - predicted.predicted:
        notes.append(f"Predicted now: {counted(predicted.predicted, 'photo')}; before: {before:,}.")
    if plan.shard is None:
        write_parts(
            predicted, store, plan.out, list(options.formats),
            submission_ids=plan.dataset.submission_ids, fallback_class=ensemble.bundles[0].most_frequent,
        )  # fmt: skip
    stays_in_parts = plan.shard is not None or Format.PARTS in options.formats
    place = store.folder if stays_in_parts else plan.out / PREDICTIONS
    facts = {"predicted_now": predicted.predicted, **predicted.machines}
    return PredictedPhotos(plan.dataset, predicted.record, predicted.photos, place, facts, notes)


def _predict_in_one_go(
    options: PredictOptions, plan: PredictPlan, ensemble: Ensemble, context: RunContext, search: FaceSearch | None
) -> PredictedPhotos:
    """Predict all photos, also those in no file, and draw and sort them."""
    pictures = None if options.draw is None else DrawnPictures(options.draw, context.workers)
    by = options.sort_by or [task.name for task in ensemble.tasks]
    sorted_photos = None if options.sort is None else SortedPhotos(options.sort, by, copy=options.copy)

    def write_files(batch: Sequence[Prediction]) -> None:
        for writer in (pictures, sorted_photos):
            if writer is not None:
                writer.add(batch)

    sources = OpenedSources(plan.sources)
    predictor = SourcePredictor(ensemble, context, search=search, keep_crops=options.keep_crops)
    predictions = predictor.predict(plan.inputs, sources, write_files)
    write_predictions(predictions, plan.out, plan.dataset.submission_ids, list(options.formats))
    record, table = predictions.record, predictions.table
    facts: dict[str, object] = {}
    notes: list[str] = []
    if pictures is not None:
        notes.append(f"Pictures: {pictures.written} in {options.draw}")
        facts["pictures"] = pictures.written
    if sorted_photos is not None:
        notes.append(f"Sorted: {sorted_photos.counts.total()} of {sum(record.counts.values())} in {options.sort}")
        facts["sorted"] = dict(sorted_photos.counts)
    count = len(table) if search is None else table["photo"].n_unique()
    return PredictedPhotos(sources.added_to(plan.dataset), record, count, plan.out / PREDICTIONS, facts, notes)
