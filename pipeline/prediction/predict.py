"""The prediction stage: photos and bundles -> one row per photo, whatever happened to it.

The crop is made as each bundle says, by the code that made the training's crops; photos whose crops are in the cache
are not detected again.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ValidationError

from cache import atomic
from cache.config import fingerprint
from cache.errors import BundleError
from cache.unit import Entry
from classify.inference.bundle import Bundle, TrainedNetwork
from classify.inference.decision import DecisionRule, vote
from classify.inference.ensemble import Ensemble
from classify.inference.probabilities import probabilities
from classify.preprocessing import decode_crop, to_input
from classify.tasks import Task, joint_class
from detect.config import CropConfig, DetectConfig
from detect.spec import crop_spec
from pipeline.context import RunContext
from pipeline.detection.detect import Detection, detect_photos, source_ids
from pipeline.intake.photo import Photo

PHOTOS_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Predictions:
    """The predictions of some photos.

    Attributes:
        table: one row per photo in their order, with the columns of predictions.csv.
        counts: photos per status.
        fallback_class: the joint class that a submission gives to unreadable photos.
    """

    table: pl.DataFrame
    counts: Mapping[str, int]
    fallback_class: int


def crop_settings(detect: DetectConfig, crop: CropConfig) -> dict[str, Any]:
    """What a bundle keeps about its crops: the settings, and the fingerprint of everything that they depend on."""
    return {
        "detect": detect.model_dump(mode="json"),
        "crop": crop.model_dump(mode="json"),
        "fingerprint": fingerprint(crop_spec(detect, crop)),
    }


def predict_photos(
    photos: Sequence[Photo], ensemble: Ensemble, context: RunContext, *, sources: Mapping[Path, str] | None = None
) -> Predictions:
    """Predict every task for every photo.

    Status and box are the first bundle's; a photo that another one can't read is told by those that can.

    Raises:
        BundleError: this faceline would crop otherwise than the one that trained a bundle.
    """
    settings = [_crop_settings_of(bundle) for bundle in ensemble.bundles]
    if sources is None:
        sources = source_ids([photo.path for photo in photos], context)
    seen: list[list[Entry]] = []
    rows: list[NDArray[np.intp]] = []
    told: list[dict[str, NDArray[np.float32]]] = []
    for bundle, (detect, crop) in zip(ensemble.bundles, settings, strict=True):
        detection = detect_photos(photos, context, detect=detect, crop=crop, sources=sources)
        entries = [detection.entry(photo) for photo in photos]
        seen.append(entries)
        rows.append(np.flatnonzero([entry.outcome == "ok" for entry in entries]))
        told.append(_tell([entries[i] for i in rows[-1].tolist()], detection, bundle, context))
    mean = {t.name: ensemble.mean(t.name, [own[t.name] for own in told], rows, len(photos)) for t in ensemble.tasks}
    answers = {name: ensemble.decision_rule(name).answers(one) for name, one in mean.items()}
    columns = pl.DataFrame(prediction_columns(ensemble.tasks, mean, answers, ensemble.decision_rules))
    spread = _spread(columns, rows[0].tolist(), len(photos))
    table = pl.concat([_photo_columns(photos, seen[0]), spread], how="horizontal")
    counts: dict[str, int] = {"ok": 0, "no_face": 0, "unreadable": 0}
    for status in table["status"]:
        counts[status] += 1
    return Predictions(table, counts, ensemble.bundles[0].most_frequent)


def write_predictions(predictions: Predictions, out: Path, asked: Sequence[str] = ()) -> None:
    """Write predictions.csv, and submission.csv when `asked` has the image ids of an info.csv."""
    atomic.write_text(out / "predictions.csv", predictions.table.write_csv(float_precision=6))
    if asked:
        answers = predictions.table["class"].fill_null(predictions.fallback_class)
        submission = pl.DataFrame({"ImageID": list(asked), "ans": answers})
        atomic.write_text(out / "submission.csv", submission.write_csv())


def prediction_columns(
    tasks: Sequence[Task],
    told: Mapping[str, NDArray[np.float32]],
    answers: Mapping[str, NDArray[np.intp]],
    decision_rules: Mapping[str, DecisionRule],
) -> dict[str, Any]:
    """Per task its answer and the probability of every class, then the joint class; and what is unsure, when asked."""
    columns: dict[str, Any] = {}
    for task in tasks:
        columns[task.name] = [task.classes[code] for code in answers[task.name]]
        for code, name in enumerate(task.classes):
            columns[f"p_{task.name}_{name}"] = told[task.name][:, code].astype(np.float64)
    codes = zip(*(answers[task.name].tolist() for task in tasks), strict=True)
    columns["class"] = [joint_class(tasks, one) for one in codes]
    if any(decision_rule.unsure_below for decision_rule in decision_rules.values()):
        unsure = {
            name: decision_rule.unsure(told[name], answers[name]).tolist()
            for name, decision_rule in decision_rules.items()
        }
        columns["unsure"] = [
            " ".join(name for name, marked in unsure.items() if marked[row]) for row in range(len(columns["class"]))
        ]
    return columns


def _crop_settings_of(bundle: Bundle) -> tuple[DetectConfig, CropConfig]:
    try:
        detect, crop = DetectConfig(**bundle.crop["detect"]), CropConfig(**bundle.crop["crop"])
    except (KeyError, TypeError, ValidationError) as error:
        raise BundleError(f"the bundle's crop settings are not understood ({error}); train again") from error
    if crop_settings(detect, crop)["fingerprint"] != bundle.crop.get("fingerprint"):
        raise BundleError(
            "this faceline, or its detector's weights, would crop otherwise than when the bundle was trained, so its "
            "predictions would be worse than its scores.\nTrain again, or predict with the faceline that trained it."
        )
    return detect, crop


def _tell(
    entries: Sequence[Entry], detection: Detection, bundle: Bundle, context: RunContext
) -> dict[str, NDArray[np.float32]]:
    """Probabilities per task of every entry; crops are read and decoded once for all networks."""
    device = context.torch_device()
    for one in bundle.networks:
        one.network.to(device)
    parts = {task.name: [np.zeros((0, len(task.classes)), np.float32)] for task in bundle.tasks}
    with context.console.progress("Predicting", len(entries)) as advance:
        for inputs in _inputs(entries, detection, bundle, context.workers):
            votes: dict[str, list[NDArray[np.float32]]] = {task.name: [] for task in bundle.tasks}
            for one in bundle.networks:
                told = probabilities(
                    one.network, one.heads, inputs[_view(one)], one.normalise, device, flip=bundle.flip
                )
                for task, own in zip(one.heads.tasks, told, strict=True):
                    votes[task.name].append(own)
            for name, own in votes.items():
                parts[name].append(bundle.decision_rule(name).calibrated(vote(own)))
            advance(len(next(iter(inputs.values()))))
    for one in bundle.networks:
        one.network.cpu()  # the next bundle's want the device's memory
    return {name: np.concatenate(own) for name, own in parts.items()}


View = tuple[tuple[int, int], float]


def _view(one: TrainedNetwork) -> View:
    return one.model.input, one.model.zoom


def _inputs(
    entries: Sequence[Entry], detection: Detection, bundle: Bundle, threads: int
) -> Iterator[dict[View, NDArray[np.uint8]]]:
    views = sorted({_view(one) for one in bundle.networks})

    def prepare(entry: Entry) -> list[NDArray[np.uint8]]:
        crop = decode_crop(detection.store.read(entry.source))
        return [to_input(crop, size, zoom) for size, zoom in views]

    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(entries), PHOTOS_AT_ONCE):
            prepared = list(pool.map(prepare, entries[start : start + PHOTOS_AT_ONCE]))
            yield {view: np.stack([one[i] for one in prepared]) for i, view in enumerate(views)}


def _photo_columns(photos: Sequence[Photo], entries: Sequence[Entry]) -> pl.DataFrame:
    rows = [_photo_row(photo, entry) for photo, entry in zip(photos, entries, strict=True)]
    kinds: dict[str, Any] = {"path": pl.String, "status": pl.String, "found_by": pl.String}
    kinds |= dict.fromkeys(("x1", "y1", "x2", "y2", "score"), pl.Float64)
    return pl.DataFrame(rows, schema=kinds, orient="row")


def _photo_row(photo: Photo, entry: Entry) -> list[Any]:
    if entry.outcome != "ok":
        return [photo.name, "unreadable", None, None, None, None, None, None]
    facts = entry.facts
    found = facts["box"] is not None
    box = facts["box"] if found else facts["window"]
    return [photo.name, "ok" if found else "no_face", facts["found_by"], *map(float, box), facts["score"]]


def _spread(table: pl.DataFrame, rows: Sequence[int], length: int) -> pl.DataFrame:
    """The table's rows at the positions `rows` of a table of `length`, with empty cells elsewhere."""
    position = pl.DataFrame({"row": list(range(length))}, schema={"row": pl.Int64})
    numbered = table.with_columns(pl.Series("row", list(rows), dtype=pl.Int64))
    return position.join(numbered, on="row", how="left", maintain_order="left").drop("row")
