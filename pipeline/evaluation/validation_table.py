"""Read RUN/validation.csv, a run's predictions for its held-out people.

Out: true and predicted class indices per task and for the joint class, and the person of each photo.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from classify.tasks import Task, joint_class, split_joint
from pipeline.safe_csv import read_back
from pipeline.task_names import probability_columns


@dataclass(frozen=True, slots=True)
class Validation:
    """The held-out photos of a run, in the file's order."""

    table: pl.DataFrame
    # "joint" first, then each task: (N,) true class indices, -1 where unlabelled, and (N,) predicted ones
    codes: Mapping[str, tuple[NDArray[np.intp], NDArray[np.intp]]]

    @property
    def people(self) -> list[str]:
        """The person of each photo."""
        return self.table["person"].to_list()


def read_validation(path: Path, tasks: Sequence[Task]) -> Validation:
    """Read a validation.csv that was made with `tasks`."""
    table = read_typed(path, tasks)
    true_codes = np.stack([table[f"true_{task.name}"].to_numpy() for task in tasks], axis=1)
    true_joint = np.array([joint_class(tasks, row) for row in true_codes.tolist()], dtype=np.intp)
    predicted_codes = np.array([split_joint(tasks, joint) for joint in table["class"]], dtype=np.intp)
    codes = {"joint": (true_joint, table["class"].to_numpy().astype(np.intp))}
    for index, task in enumerate(tasks):
        codes[task.name] = (true_codes[:, index].astype(np.intp), predicted_codes[:, index])
    return Validation(table, codes)


def read_typed(path: Path, tasks: Sequence[Task]) -> pl.DataFrame:
    """Read a validation.csv or predictions.csv with the types that it was written with.

    Types are never guessed from the cells: a class, person or file may be called 1, 007 or true.
    """
    table = read_back(pl.read_csv(path, infer_schema=False))
    integers = {"fold", "class", *(f"true_{task.name}" for task in tasks)}
    floats = {"x1", "y1", "x2", "y2", "score", *(name for task in tasks for name in probability_columns(task))}
    return table.with_columns(
        pl.col([name for name in table.columns if name in integers]).cast(pl.Int64),
        pl.col([name for name in table.columns if name in floats]).cast(pl.Float64),
    )
