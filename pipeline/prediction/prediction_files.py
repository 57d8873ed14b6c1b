"""Write predictions: predictions.csv and .json, and what else was requested.

In: the tables of predictions, in the order of the photos. Out: files in the user's folder, each complete or absent.

Memory holds one of the tables at a time.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import polars as pl

from cache import atomic
from pipeline.prediction.predict import Predictions
from pipeline.prediction.prediction_record import (
    PREDICTIONS,
    RECORD,
    SUBMISSION,
    PredictionRecord,
    has_submission,
    write_record,
)
from pipeline.safe_csv import csv_text

TABLES = {"parquet": "predictions.parquet", "jsonl": "predictions.jsonl"}  # besides predictions.csv, on request


def write_predictions(
    predictions: Predictions, out: Path, submission_ids: Sequence[str] = (), formats: Sequence[str] = ("csv",)
) -> None:
    """Write the predictions of some photos; see `write_tables`."""
    frame = predictions.table
    write_tables(
        [frame], frame.lazy(), predictions.record, out, [*formats, "csv"],
        submission_ids=submission_ids, fallback_class=predictions.fallback_class,
    )  # fmt: skip


def write_tables(
    tables: Iterable[pl.DataFrame],
    frame: pl.LazyFrame,
    record: PredictionRecord,
    out: Path,
    formats: Sequence[str],
    *,
    submission_ids: Sequence[str] = (),
    fallback_class: int = 0,
) -> None:
    """Write predictions.json, the tables in the `formats`, and submission.csv.

    A submission.csv that belongs to the predictions that are replaced is deleted; one of the user's own stays.

    Args:
        tables: at least one; read once.
        frame: the same rows, for a single predictions.parquet.
        record: what predictions.json says.
        out: the folder.
        formats: of "csv", "jsonl" and "parquet".
        submission_ids: the ids of an info.csv, for a submission.csv with the class of each row.
        fallback_class: the class there of a photo that can't be read.
    """
    # First what would no longer belong to the table, so that an interruption leaves nothing that does not fit.
    if has_submission(out):
        (out / SUBMISSION).unlink(missing_ok=True)
    for name in (RECORD, *TABLES.values()):
        (out / name).unlink(missing_ok=True)
    if "csv" not in formats:
        (out / PREDICTIONS).unlink(missing_ok=True)
    if "parquet" in formats:
        with atomic.staged_file(out / TABLES["parquet"]) as staged:
            frame.sink_parquet(staged)
    classes: list[pl.Series] = []
    with ExitStack() as stack:
        names = {"csv": PREDICTIONS, "jsonl": TABLES["jsonl"]}
        files = {
            what: stack.enter_context(stack.enter_context(atomic.staged_file(out / name)).open("wb"))
            for what, name in names.items()
            if what in formats
        }
        for number, table in enumerate(tables):
            if "csv" in files:
                files["csv"].write(csv_text(table, float_precision=6, header=number == 0).encode())
            if "jsonl" in files:
                files["jsonl"].write(table.write_ndjson().encode())
            if submission_ids:
                classes.append(table["class"])
    if submission_ids:
        answers = pl.concat(classes).fill_null(fallback_class)
        submission = pl.DataFrame({"ImageID": list(submission_ids), "ans": answers})
        # As they are, even if they look like formulas: whoever scores the file compares the ids.
        atomic.write_text(out / SUBMISSION, submission.write_csv())
    write_record(replace(record, submission=bool(submission_ids)), out)
