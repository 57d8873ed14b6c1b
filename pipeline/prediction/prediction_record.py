"""predictions.json, which says beside every predictions.csv what was predicted, by which bundle, and how.

In: an ensemble and the table of predictions. Out: PredictionRecord, as a file and read back from it.

Classes and tasks are known to modules that import torch; these are imported only where a record is made or read.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from cache.errors import DataError
from classify.tasks import Task, describe_task, read_task
from pipeline.run_record import write_json

if TYPE_CHECKING:
    from classify.inference.ensemble import Ensemble
    from pipeline.context import RunContext

FORMAT = 1
PREDICTIONS, SUBMISSION, RECORD = "predictions.csv", "submission.csv", "predictions.json"
STATUSES = ("ok", "no_face", "unreadable")
DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError)  # what reading a damaged record raises


@dataclass(frozen=True, slots=True)
class PredictionRecord:
    """What is known about some predictions besides the table."""

    bundles: Mapping[str, str]  # folder -> sha256 of its bundle.json or votes.json
    tasks: tuple[Task, ...]
    settings: Mapping[str, Any]  # flip, calibrate, decide, unsure and precision, as they were obeyed
    counts: Mapping[str, int]  # photos per status
    trained_on: int | None  # photos that the networks were trained on; None if a bundle does not know its photos
    reasons: Mapping[str, int] = field(default_factory=dict[str, int])  # unreadable photos per reason
    submission: bool = False  # whether a submission.csv belongs to the predictions


def record_of(
    ensemble: "Ensemble", table: pl.DataFrame, reasons: Mapping[str, int], context: "RunContext"
) -> PredictionRecord:
    """Make the record of a table that the ensemble has predicted; `reasons` counts the unreadable photos."""
    from classify.inference.runtime import precision_on

    settings = {
        **_decided_by(ensemble),
        "precision": precision_on(context.torch_device(), context.settings.predict.precision),
    }
    counts = {status: int((table["status"] == status).sum()) for status in STATUSES}
    trained_on = int(table["trained_on"].sum()) if "trained_on" in table.columns else 0
    if any(bundle.trained_photos is None for bundle in ensemble.bundles):
        trained_on = None
    folders = {str(folder): digest for folder, digest in ensemble.origins}
    return PredictionRecord(folders, ensemble.tasks, settings, counts, trained_on, dict(reasons))


def joined_records(records: Sequence[PredictionRecord]) -> PredictionRecord:
    """The record of several tables, at least one, that the same bundles have predicted."""
    counts: Counter[str] = Counter(dict.fromkeys(STATUSES, 0))
    reasons: Counter[str] = Counter()
    for record in records:
        counts.update(record.counts)
        reasons.update(record.reasons)
    trained_on = [record.trained_on for record in records]
    total = None if None in trained_on else sum(count or 0 for count in trained_on)
    return replace(records[0], counts=dict(counts), reasons=dict(reasons), trained_on=total)


def write_record(record: PredictionRecord, out: Path) -> None:
    """Write predictions.json."""
    content = {
        "format": FORMAT,
        "bundles": [{"path": path, "sha256": digest} for path, digest in record.bundles.items()],
        "tasks": {task.name: describe_task(task) for task in record.tasks},
        "settings": dict(record.settings),
        "photos": sum(record.counts.values()),
        "counts": dict(record.counts),
        "reasons": dict(record.reasons),
        "trained_on": record.trained_on,
        "submission": record.submission,
    }
    write_json(out / RECORD, content)


def read_record(predictions: Path) -> PredictionRecord | None:
    """Read the record beside a predictions.csv or submission.csv; None if there is none, or the table is another one.

    Raises:
        DataError: it is damaged, or of a newer version.
    """
    content = _read_json(predictions)
    if content is None:
        return None
    try:
        bundles = {entry["path"]: entry["sha256"] for entry in content["bundles"]}
        tasks = tuple(read_task(name, entry) for name, entry in content["tasks"].items())
        kept = {key: content[key] for key in ("settings", "counts", "trained_on", "submission")}
        kept["reasons"] = content.get("reasons", {})
        return PredictionRecord(bundles, tasks, **kept)
    except DAMAGE as error:
        raise _damaged(predictions, error) from error


def recorded_bundles(predictions: Path) -> Mapping[str, str] | None:
    """Read only which bundles made the predictions, folder -> sha256; None and errors are as in `read_record`."""
    content = _read_json(predictions)
    try:
        return None if content is None else {entry["path"]: entry["sha256"] for entry in content["bundles"]}
    except DAMAGE as error:
        raise _damaged(predictions, error) from error


def has_submission(out: Path) -> bool:
    """Whether a submission.csv in the folder belongs to the predictions there; older versions kept no record of it."""
    if not (out / PREDICTIONS).is_file():
        return False
    try:
        content = _read_json(out / PREDICTIONS)
        return content is None or bool(content["submission"])
    except (DataError, *DAMAGE):
        return True


def _read_json(predictions: Path) -> dict[str, Any] | None:
    path = predictions.with_name(RECORD)
    if predictions.name not in {PREDICTIONS, SUBMISSION} or not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] > FORMAT:
            raise DataError(f"{path} was written by a newer faceline (format {content['format']}); upgrade faceline")
        return content
    except DAMAGE as error:
        raise _damaged(predictions, error) from error


def _damaged(predictions: Path, error: Exception) -> DataError:
    return DataError(
        f"{predictions.with_name(RECORD)} lacks or misstates {error}; predict again, or delete it to score with the "
        "settings' classes"
    )


def _decided_by(ensemble: "Ensemble") -> dict[str, Any]:
    """The values of `predict` that the ensemble predicts with."""
    rules = [ensemble.decision_rule(task.name) for task in ensemble.tasks]
    own_rules = [bundle.decision_rule(task.name) for bundle in ensemble.bundles for task in ensemble.tasks]
    flips = sorted({bundle.flip for bundle in ensemble.bundles})
    decided_for = "f1" if ensemble.decide in ("", "probable") else ensemble.decide
    return {
        "flip": flips[0] if len(flips) == 1 else "some bundles",
        "calibrate": any(rule.temperature != 1 for rule in (*rules, *own_rules)),
        "decide": decided_for if any(rule.factors for rule in rules) else "probable",
        "unsure": max((rule.unsure_below for rule in rules), default=0.0),
    }
