"""What the report shows of RUN/predictions.csv: counts, and the least certain predictions as pictures.

In: predictions.csv, and the photos where they still are. Out: PredictionFacts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from cache.sources import hash_files
from classify.tasks import Task
from pipeline.evaluation.validation_table import read_typed
from pipeline.reports.pictures import Pictures
from pipeline.task_names import probability_columns

SHOWN = 60


@dataclass(frozen=True, slots=True)
class PredictedPhoto:
    """A photo with its answers."""

    picture: str  # the CSS class of its thumbnail; empty without one
    path: str
    answers: Sequence[tuple[str, float]]  # class and its probability, per task


@dataclass(frozen=True, slots=True)
class PredictionFacts:
    """The predictions of a run."""

    photos: int
    status: Sequence[tuple[str, int]]
    steps: Sequence[tuple[str, int]]
    classes: Mapping[str, Sequence[tuple[str, int]]]
    uncertain: Sequence[PredictedPhoto]  # the least certain first


def prediction_facts(
    run: Path, record: Mapping[str, Any], tasks: Sequence[Task], pictures: Pictures
) -> PredictionFacts | None:
    """Count the photos of predictions.csv, and find the least certain; None if there is no such file."""
    path = run / "predictions.csv"
    if not path.is_file():
        return None
    table = read_typed(path, tasks)
    classes = {task.name: [(name, int((table[task.name] == name).sum())) for name in task.classes] for task in tasks}
    return PredictionFacts(
        len(table),
        table["status"].value_counts(sort=True).rows(),
        table["found_by"].drop_nulls().value_counts(sort=True).rows(),
        classes,
        _least_certain(table, tasks, Path(str(record.get("data", ""))), pictures),
    )


def _least_certain(table: pl.DataFrame, tasks: Sequence[Task], data: Path, pictures: Pictures) -> list[PredictedPhoto]:
    """The photos with the smallest probability of the answer of any task."""
    highest = [pl.max_horizontal(probability_columns(task)) for task in tasks]
    ordered = table.with_columns(certainty=pl.min_horizontal(highest)).drop_nulls("certainty").sort("certainty")
    rows = list(ordered.head(SHOWN).iter_rows(named=True))
    root = data if data.is_dir() else data.parent
    sources = hash_files([root / row["path"] for row in rows])
    photos: list[PredictedPhoto] = []
    for row in rows:
        source = sources.get(root / row["path"])
        picture = pictures.name(source) if isinstance(source, str) else ""
        answers = [(row[task.name], max(row[name] for name in probability_columns(task))) for task in tasks]
        photos.append(PredictedPhoto(picture, row["path"], answers))
    return photos
