"""The prediction stage.

In: photos and an ensemble of bundles. Out: one row per photo, also for photos that can't be read.

Each bundle's crops are made with its own settings, by the code that makes crops for training; photos whose crops are in
the cache are not detected again.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache import atomic
from cache.sources import split_part
from cache.unit import Entry
from classify.inference.bundle import Bundle
from classify.inference.decision import DecisionRule, Probabilities
from classify.inference.ensemble import Ensemble
from classify.inference.probabilities import probabilities
from classify.tasks import Task, joint_class
from pipeline.console import Console
from pipeline.context import RunContext
from pipeline.detection.detect import Detection, detect_photos, photo_source_ids
from pipeline.intake.photo import Photo
from pipeline.prediction.crop_settings import read_crop_settings
from pipeline.prediction.network_inputs import network_inputs, view_of
from pipeline.prediction.prediction_record import (
    PREDICTIONS,
    RECORD,
    SUBMISSION,
    PredictionRecord,
    has_submission,
    record_of,
    write_record,
)
from pipeline.prediction.trained_on import network_rows, trained_on_columns
from pipeline.safe_csv import csv_text


@dataclass(frozen=True, slots=True)
class Predictions:
    """The predictions of some photos."""

    table: pl.DataFrame  # one row per photo in their order, with the columns of predictions.csv
    counts: Mapping[str, int]  # photos per status
    fallback_class: int  # the joint class that a submission gets for unreadable photos
    record: PredictionRecord  # what predictions.json says about them


def predict_photos(
    photos: Sequence[Photo], ensemble: Ensemble, context: RunContext, *, sources: Mapping[Path, str] | None = None
) -> Predictions:
    """Predict every task for every photo.

    The first bundle decides which photos get predictions, and their status and box. Where another bundle can't read one
    of these photos, the others' probabilities are averaged. Photos that a bundle's networks were trained on are marked,
    and predicted by those networks that were not, if there are any. Of the settings of `context`, only
    `data.max_megapixels` is used.

    Args:
        sources: file -> source id, if the files were hashed before.

    Raises:
        BundleError: this version of faceline would not make the crops that a bundle was trained on.
    """
    # Crop settings: of all bundles, before any photo is read.
    settings = [
        context.keep((read_crop_settings, id(bundle)), partial(read_crop_settings, bundle.crop))
        for bundle in ensemble.bundles
    ]
    if sources is None:
        sources = photo_source_ids(photos, context)

    # Each bundle: its crops, which photos it could read, and its probabilities for these.
    entries: list[list[Entry]] = []
    rows: list[NDArray[np.intp]] = []
    predicted: list[dict[str, Probabilities]] = []
    for bundle, (detect, crop) in zip(ensemble.bundles, settings, strict=True):
        detection = detect_photos(photos, context, detect=detect, crop=crop, sources=sources)
        bundle_entries = [detection.entry(photo) for photo in photos]
        readable = np.flatnonzero([entry.outcome == "ok" for entry in bundle_entries])
        entries.append(bundle_entries)
        rows.append(readable)
        predicted.append(_predict_bundle([bundle_entries[row] for row in readable], detection, bundle, context))

    # Ensemble: mean probabilities and class of each task, for the photos that the first bundle could read.
    mean: dict[str, Probabilities] = {}
    answers: dict[str, NDArray[np.intp]] = {}
    for task in ensemble.tasks:
        mean[task.name] = ensemble.mean(task.name, [part[task.name] for part in predicted], rows, len(photos))
        answers[task.name] = ensemble.decision_rule(task.name).answers(mean[task.name])

    # Table: a row for every photo, with empty cells for the unreadable ones.
    columns = pl.DataFrame(prediction_columns(ensemble.tasks, mean, answers, ensemble.decision_rules))
    columns = columns.with_columns(pl.Series("row", rows[0].tolist(), dtype=pl.get_index_type()))
    table = _photo_columns(photos, entries[0]).with_row_index("row")
    table = table.join(columns, on="row", how="left", maintain_order="left").drop("row")
    table = table.with_columns(
        **trained_on_columns(ensemble.bundles, [sources.get(photo.path, "") for photo in photos])
    )
    record = record_of(ensemble, table, Counter(entry.outcome for entry in entries[0] if entry.outcome != "ok"))
    return Predictions(table, record.counts, ensemble.bundles[0].most_frequent, record)


def warn_of_dropped_factors(ensemble: Ensemble, console: Console) -> None:
    """Print which tasks' answers are chosen without the factors that their bundles have."""
    if dropped := ensemble.dropped_factors:
        console.warn(
            f"{', '.join(dropped)}: the most probable class is predicted, without the factors of the bundles, which "
            "were fitted to each bundle's own probabilities; `faceline vote RUN RUN ... --set predict.decide=f1 "
            "--out DIR` fits factors for their mean"
        )


def write_predictions(predictions: Predictions, out: Path, submission_ids: Sequence[str] = ()) -> None:
    """Write predictions.csv and .json, and submission.csv when there are `submission_ids`, the ids of an info.csv.

    A submission.csv that belongs to the predictions that are replaced is deleted; one of the user's own stays.
    """
    # First what would no longer belong to the table, so that an interruption leaves nothing that does not fit.
    if has_submission(out):
        (out / SUBMISSION).unlink(missing_ok=True)
    (out / RECORD).unlink(missing_ok=True)
    atomic.write_text(out / PREDICTIONS, csv_text(predictions.table, float_precision=6))
    if submission_ids:
        answers = predictions.table["class"].fill_null(predictions.fallback_class)
        submission = pl.DataFrame({"ImageID": list(submission_ids), "ans": answers})
        # As they are, even if they look like formulas: whoever scores the file compares the ids.
        atomic.write_text(out / SUBMISSION, submission.write_csv())
    write_record(replace(predictions.record, submission=bool(submission_ids)), out)


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
        for code, name in enumerate(task.classes):
            columns[f"p_{task.name}_{name}"] = probabilities[task.name][:, code].astype(np.float64)
    codes = zip(*(answers[task.name].tolist() for task in tasks), strict=True)
    columns["class"] = [joint_class(tasks, photo_codes) for photo_codes in codes]
    if any(rule.unsure_below for rule in decision_rules.values()):
        unsure = {name: rule.unsure(probabilities[name], answers[name]) for name, rule in decision_rules.items()}
        rows = range(len(columns["class"]))
        columns["unsure"] = [" ".join(name for name, is_unsure in unsure.items() if is_unsure[row]) for row in rows]
    return columns


def _predict_bundle(
    entries: Sequence[Entry], detection: Detection, bundle: Bundle, context: RunContext
) -> dict[str, Probabilities]:
    """Return each task's (N, C) calibrated probabilities."""
    device = context.torch_device()
    for network in bundle.networks:
        context.keep((device, id(network)), partial(network.network.to, device))
    totals = {task.name: np.zeros((len(entries), len(task.classes))) for task in bundle.tasks}
    networks = {task.name: np.zeros((len(entries), 1)) for task in bundle.tasks}  # how many there are in the total
    chosen = network_rows(bundle, [entry.source for entry in entries])
    start = 0
    with context.console.progress("Predicting", len(entries)) as advance:
        ahead = 0 if device == "cpu" else 1
        for inputs in network_inputs(entries, detection.store, bundle.networks, threads=context.workers, ahead=ahead):
            count = len(next(iter(inputs.values())))
            for network, is_chosen in zip(bundle.networks, chosen[:, start : start + count], strict=True):
                in_batch = np.flatnonzero(is_chosen)
                share = count / len(bundle.networks)  # of the photos, for the bar: each network is a part of them
                if not len(in_batch):
                    advance(share)
                predicted = probabilities(
                    network.network,
                    network.heads,
                    inputs[view_of(network)],
                    network.normalise,
                    device,
                    flip=bundle.flip,
                    rows=in_batch,
                    progress=partial(_advance_by, advance, share / max(len(in_batch), 1)),
                )
                for task, task_probabilities in zip(network.heads.tasks, predicted, strict=True):
                    totals[task.name][start + in_batch] += task_probabilities
                    networks[task.name][start + in_batch] += 1
            start += count
    if context.kept is None:
        for network in bundle.networks:
            network.network.cpu()  # frees the device's memory for the next bundle
    means = {name: (total / networks[name]).astype(np.float32) for name, total in totals.items()}
    voting = {task.name: sum(task in network.heads.tasks for network in bundle.networks) for task in bundle.tasks}
    return {name: bundle.calibrated(name, mean, networks[name][:, 0] < voting[name]) for name, mean in means.items()}


def _advance_by(advance: Callable[[float], None], share: float, inputs: int) -> None:
    advance(inputs * share)


def _photo_columns(photos: Sequence[Photo], entries: Sequence[Entry]) -> pl.DataFrame:
    """Make the columns about the photos: path, status, how the face was found, its box in pixels, and its score."""
    rows: list[list[Any]] = []
    for photo, entry in zip(photos, entries, strict=True):
        if entry.outcome == "ok":
            facts = entry.facts
            status = "no_face" if facts["box"] is None else "ok"
            box = facts["box"] or facts["window"]  # without a face, the fallback window
            _, part = split_part(photo.path)
            left, top = part[:2] if part else (0, 0)
            box = [float(edge) + start for edge, start in zip(box, (left, top, left, top), strict=True)]
            rows.append([photo.name, status, facts["found_by"], *box, facts["score"]])
        else:
            rows.append([photo.name, "unreadable", *[None] * 6])
    schema: dict[str, Any] = {"path": pl.String, "status": pl.String, "found_by": pl.String}
    schema |= dict.fromkeys(("x1", "y1", "x2", "y2", "score"), pl.Float64)
    return pl.DataFrame(rows, schema=schema, orient="row")
