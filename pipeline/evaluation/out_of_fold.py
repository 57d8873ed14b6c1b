"""Out-of-fold probabilities: those of photos that a network was not trained on, from one run or several.

In: RUN/validation.csv of each run, and the photos of a data set. Out: probabilities per task, a row per photo.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache.errors import BundleError, DataError
from classify.tasks import Task
from pipeline.intake.photo import Photo
from pipeline.safe_csv import read_back
from pipeline.settings import load_settings
from pipeline.task_names import probability_columns


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """Probabilities of photos, by networks that were not trained on them."""

    photos: tuple[Photo, ...]  # those that the runs held out, in the data set's order
    sources: tuple[str, ...]  # the source id of each, which names its crop
    probabilities: dict[str, NDArray[np.float64]]  # task name -> (N, classes)
    unknown: int  # number of photos of the data set that no run held out
    replaced: tuple[str, ...] = ()  # names of those among them of which runs held out another file of the same name


def read_out_of_fold(
    runs: Sequence[Path], photos: Sequence[Photo], tasks: Sequence[Task], sources: Mapping[Path, str] | None = None
) -> OutOfFold:
    """Pool the held-out photos of runs; probabilities of a photo that several runs held out are averaged.

    Args:
        sources: file -> source id, to leave out what runs predicted for other files of the same names; None trusts
            the names.

    Raises:
        BundleError: a run held nobody out, has other tasks, or lacks probabilities.
        DataError: none of the photos was held out.
    """
    for run in runs:
        _refuse_other_tasks(run, tasks)
    columns = {task.name: probability_columns(task) for task in tasks}
    all_columns = [name for names in columns.values() for name in names]
    table = pl.concat([_read(run, all_columns) for run in runs])
    held_out_names = set(table["path"])
    if sources is not None:
        present = [(photo.name, sources.get(photo.path)) for photo in photos]
        present_table = pl.DataFrame(present, schema={"path": pl.String, "source": pl.String}, orient="row")
        table = table.join(present_table, on=["path", "source"], how="semi")
    pooled = table.group_by("path").agg(pl.col("source").first(), pl.col(all_columns).mean())
    names = pl.DataFrame({"path": pl.Series([photo.name for photo in photos], dtype=pl.String)}).with_row_index("row")
    joined = names.join(pooled, on="path").sort("row")
    if joined.is_empty():
        raise DataError(
            f"no labelled photo of this data set was held out in {', '.join(map(str, runs))}; "
            "name the run that was trained on it"
        )
    return OutOfFold(
        tuple(photos[row] for row in joined["row"]),
        tuple(joined["source"]),
        {task: joined.select(names).to_numpy().astype(np.float64) for task, names in columns.items()},
        len(photos) - len(joined),
        tuple(sorted(held_out_names.intersection(names["path"]) - set(joined["path"]))),
    )


def _refuse_other_tasks(run: Path, tasks: Sequence[Task]) -> None:
    """Refuse a run that divides a task's numbers at other edges, which the names of the columns may not show."""
    if not (run / "config.yaml").is_file():
        return
    trained = {task.name: task for task in load_settings(run / "config.yaml").task_list()}
    for task in tasks:
        other = trained.get(task.name, task)
        if (other.classes, other.edges) != (task.classes, task.edges):
            raise BundleError(
                f"{run} was trained with other classes or edges of {task.name}: {', '.join(other.classes)} (edges "
                f"{list(other.edges)}) there, {', '.join(task.classes)} (edges {list(task.edges)}) now. Give runs with "
                "the same, or leave the task out with --task."
            )


def _read(run: Path, columns: Sequence[str]) -> pl.DataFrame:
    path = run / "validation.csv"
    if not path.is_file():
        raise BundleError(
            f"{run} has no validation.csv: it is not finished, or held nobody out.\n"
            f"Train with a fold held out, as in faceline train DATA --set split.held_out=0."
        )
    try:
        table = read_back(pl.read_csv(path, columns=["path", "source", *columns], infer_schema=False))
        table = table.select(pl.col("path", "source"), pl.col(columns).cast(pl.Float64))
    except pl.exceptions.PolarsError as error:
        reason = str(error).split("\n")[0]
        raise BundleError(f"{path} does not fit the settings of the first run ({reason})") from None
    lacking = table.filter(~pl.all_horizontal(pl.col(columns).is_finite().fill_null(value=False)))
    if len(lacking):
        raise BundleError(f"{path} lacks probabilities of {lacking['path'][0]}; train again")
    return table
