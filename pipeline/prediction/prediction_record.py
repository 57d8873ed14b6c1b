"""predictions.json, which says beside every predictions.csv what was predicted, by which bundle, and how.

In: an ensemble and the table of predictions. Out: PredictionRecord, as a file and read back from it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from cache.errors import DataError
from classify.inference.bundle import describe_task, read_task
from classify.inference.ensemble import Ensemble
from classify.tasks import Task
from pipeline.run_record import write_json

FORMAT = 1
PREDICTIONS, SUBMISSION, RECORD = "predictions.csv", "submission.csv", "predictions.json"
STATUSES = ("ok", "no_face", "unreadable")


@dataclass(frozen=True, slots=True)
class PredictionRecord:
    """What is known about some predictions besides the table."""

    bundles: Mapping[str, str]  # folder -> sha256 of its bundle.json or votes.json
    tasks: tuple[Task, ...]
    settings: Mapping[str, Any]  # flip, calibrate, decide and unsure, as they were obeyed
    counts: Mapping[str, int]  # photos per status
    trained_on: int | None  # photos that the networks were trained on; None if a bundle does not know its photos
    reasons: Mapping[str, int] = field(default_factory=dict[str, int])  # unreadable photos per reason
    submission: bool = False  # whether a submission.csv belongs to the predictions

    @property
    def digests(self) -> list[str]:
        """What identifies the bundles, wherever they are."""
        return sorted(self.bundles.values())


def record_of(ensemble: Ensemble, table: pl.DataFrame, reasons: Mapping[str, int]) -> PredictionRecord:
    """Make the record of a table that the ensemble has predicted; `reasons` counts the unreadable photos."""
    counts = {status: int((table["status"] == status).sum()) for status in STATUSES}
    trained_on = int(table["trained_on"].sum()) if "trained_on" in table.columns else 0
    if any(bundle.trained_photos is None for bundle in ensemble.bundles):
        trained_on = None
    folders = {str(folder): digest for folder, digest in ensemble.origins}
    return PredictionRecord(folders, ensemble.tasks, _decided_by(ensemble), counts, trained_on, dict(reasons))


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
    path = predictions.with_name(RECORD)
    if predictions.name not in {PREDICTIONS, SUBMISSION} or not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] > FORMAT:
            raise DataError(f"{path} was written by a newer faceline (format {content['format']}); upgrade faceline")
        bundles = {entry["path"]: entry["sha256"] for entry in content["bundles"]}
        tasks = tuple(read_task(name, entry) for name, entry in content["tasks"].items())
        kept = {key: content[key] for key in ("settings", "counts", "trained_on", "submission")}
        kept["reasons"] = content.get("reasons", {})
        return PredictionRecord(bundles, tasks, **kept)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} lacks or misstates {error}; predict again, or delete it to score with the settings' classes"
        ) from error


def has_submission(out: Path) -> bool:
    """Whether a submission.csv in the folder belongs to the predictions there; older versions kept no record of it."""
    if not (out / PREDICTIONS).is_file():
        return False
    try:
        record = read_record(out / PREDICTIONS)
    except DataError:
        return True
    return record is None or record.submission


def _decided_by(ensemble: Ensemble) -> dict[str, Any]:
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
