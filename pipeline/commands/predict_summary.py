"""What `faceline predict` says at its end, in words and as JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.console import Console, counted
from pipeline.detection.unreadable import in_words
from pipeline.intake.photo import Dataset
from pipeline.intake.reading_report import reading_json
from pipeline.prediction.prediction_record import PredictionRecord


def show_summary(
    console: Console,
    dataset: Dataset,
    record: PredictionRecord,
    photos: int,
    place: Path,
    facts: Mapping[str, object],
    notes: Sequence[str],
    next_step: str,
    *,
    every_face: bool,
) -> None:
    """Print the result.

    Args:
        console: where.
        dataset: the photos as they were read.
        record: of the rows.
        photos: how many there are.
        place: the table, or the folder of parts.
        facts: more entries of the JSON object.
        notes: more lines of the text.
        next_step: the command to continue with.
        every_face: whether the rows are faces.
    """
    rows = sum(record.counts.values())
    counts = ", ".join(f"{count} {status}" for status, count in record.counts.items())
    reasons = f" ({in_words(record.reasons)})" if record.reasons else ""
    what = f"{counted(rows, 'row')} for {counted(photos, 'photo')}" if every_face else counted(photos, "photo")
    lines = [f"{what}: {counts}{reasons}", f"Predictions: {place}", *notes]
    if record.trained_on:
        lines.append(f"The networks were trained on {record.trained_on} of these photos: column trained_on")
    result = {
        "photos": photos, "rows": rows, **facts, **record.counts, "reasons": dict(record.reasons),
        "predictions": str(place), "trained_on": record.trained_on, "settings": dict(record.settings),
        **reading_json(dataset),
    }  # fmt: skip
    console.done(result, text="\n".join(lines), next_step=next_step)
