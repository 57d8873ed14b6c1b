"""The prediction stage.

In: photos and an ensemble of bundles. Out: one row per photo, also for photos that can't be read.

Each bundle's crops are made with its own settings, by the code that makes crops for training; crops that the cache
holds are read from there.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache.unit import Entry
from classify.inference.decision import DecisionRule, Probabilities
from classify.inference.ensemble import Ensemble
from classify.inference.runtime import precision_on, runtime_on
from classify.tasks import Task, joint_class
from pipeline.console import Console
from pipeline.context import RunContext
from pipeline.detection.detect import detect_photos, photo_source_ids
from pipeline.detection.unreadable import report_failures, require_a_readable_file
from pipeline.intake.photo import Photo
from pipeline.prediction.crop_settings import read_crop_settings
from pipeline.prediction.engine import Engine
from pipeline.prediction.prediction import Prediction, predictions_table
from pipeline.prediction.prediction_record import PredictionRecord, record_of
from pipeline.task_names import probability_columns


@dataclass(frozen=True, slots=True)
class Predictions:
    """The predictions of some photos."""

    table: pl.DataFrame  # one row per photo in their order, with the columns of predictions.csv
    counts: Mapping[str, int]  # photos per status
    fallback_class: int  # the joint class that a submission gets for unreadable photos
    record: PredictionRecord  # what predictions.json says about them
    items: Sequence[Prediction] = ()  # the same predictions one by one, with their photos


def predict_photos(
    photos: Sequence[Photo],
    ensemble: Ensemble,
    context: RunContext,
    *,
    sources: Mapping[Path, str] | None = None,
    engine: Engine | None = None,
    advance: Callable[[float], None] | None = None,
    all_columns: bool = False,
) -> Predictions:
    """Predict every task for every photo.

    The first bundle decides which photos get predictions, and their status and box. Where another bundle can't read one
    of these photos, the others' probabilities are averaged. Photos that a bundle's networks were trained on are marked,
    and predicted by those networks that were not, if there are any. Of the settings of `context`, only
    `data.max_megapixels` and `predict.precision` are used. Crops that the cache holds are read from there; nothing is
    written.

    Args:
        sources: file -> source id, if the files were hashed before.
        engine: of the same ensemble, to use it for several calls.
        advance: gets the number of photos predicted since its last call; by default, a bar shows it.
        all_columns: see `predictions_table`.

    Raises:
        BundleError: this version of faceline would not make the crops that a bundle was trained on.
        DetectionError: nothing can be read at the moment.
    """
    if engine is None:
        engine = Engine(ensemble, context, use_cache=True)
    predictions: list[Prediction] = []
    bar = context.console.progress("Predicting", len(photos)) if advance is None else nullcontext(advance)
    with bar as predicted:
        for prediction in engine.predict(photos, sources):
            predictions.append(prediction)
            predicted(1)
    failed = [prediction for prediction in predictions if not prediction.is_readable]
    if failed and len(failed) == len(predictions):
        require_a_readable_file([photo for photo in photos if photo.content is None])
    failures = [(item.path, Entry("", item.path, item.reason, {"sentence": item.message})) for item in failed]
    report_failures(failures, len(predictions), context.console)
    table = predictions_table(predictions, engine.schema, all_columns=all_columns)
    record = record_of(ensemble, table, Counter(item.reason for item in failed), context)
    return Predictions(table, record.counts, ensemble.bundles[0].most_frequent, record, predictions)


def make_crops(photos: Sequence[Photo], ensemble: Ensemble, context: RunContext) -> dict[Path, str]:
    """Put the crops that the bundles need into the cache, for this prediction and later ones.

    Returns:
        File -> source id of the photos that can be read.
    """
    sources = photo_source_ids(photos, context)
    for detect, crop in dict.fromkeys(read_crop_settings(bundle.crop) for bundle in ensemble.bundles):
        detect_photos(photos, context, detect=detect, crop=crop, sources=sources)
    return sources


def warn_of_dropped_factors(ensemble: Ensemble, console: Console) -> None:
    """Print which tasks' answers are chosen without the factors that their bundles have."""
    if dropped := ensemble.dropped_factors:
        console.warn(
            f"{', '.join(dropped)}: the most probable class is predicted, without the factors of the bundles, which "
            "were fitted to each bundle's own probabilities; `faceline vote RUN RUN ... --set predict.decide=f1 "
            "--out DIR` fits factors for their mean"
        )


def warn_of_precision(context: RunContext) -> None:
    """Print why `predict.precision: bf16` has no effect here, if it has none."""
    wanted, device = context.settings.predict.precision, context.torch_device()
    if wanted == "fp32" or device != "cpu" or precision_on(device, wanted) == wanted:
        return
    why = "this processor has no bfloat16" if runtime_on(device) == "openvino" else "OpenVINO is not installed"
    context.console.warn(f"predict.precision=bf16 has no effect, since {why}; the networks are computed in fp32")


def prediction_columns(
    tasks: Sequence[Task],
    probabilities: Mapping[str, Probabilities],
    answers: Mapping[str, NDArray[np.intp]],
    decision_rules: Mapping[str, DecisionRule],
) -> dict[str, Any]:
    """Make the columns of predictions.csv that hold predictions.

    Args:
        tasks: in config order.
        probabilities: per task, (N, C).
        answers: per task, (N,) class indices.
        decision_rules: per task; if any has a threshold for unsure answers, there is a column `unsure`.

    Returns:
        Per task its answer and the probability of each class, then the joint class, then the names of unsure tasks.
    """
    columns: dict[str, Any] = {}
    for task in tasks:
        columns[task.name] = [task.classes[code] for code in answers[task.name]]
        columns |= zip(probability_columns(task), probabilities[task.name].T.astype(np.float64), strict=True)
    codes = zip(*(answers[task.name].tolist() for task in tasks), strict=True)
    columns["class"] = [joint_class(tasks, photo_codes) for photo_codes in codes]
    if any(rule.unsure_below for rule in decision_rules.values()):
        unsure = {name: rule.unsure(probabilities[name], answers[name]) for name, rule in decision_rules.items()}
        rows = range(len(columns["class"]))
        columns["unsure"] = [" ".join(name for name, is_unsure in unsure.items() if is_unsure[row]) for row in rows]
    return columns
