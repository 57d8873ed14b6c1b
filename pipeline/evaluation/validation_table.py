"""What a run told of its held-out people.

RUN/validation.csv -> true and told class indices per task and for the joint class, and whose photo each is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from classify.tasks import Task, joint_class, split_joint


@dataclass(frozen=True, slots=True)
class Validation:
    """The held-out photos of a run, in the file's order.

    Attributes:
        table: the whole file.
        codes: "joint" first, then one per task: true class indices, -1 where unlabelled, and told ones; (N,) each.
    """

    table: pl.DataFrame
    codes: Mapping[str, tuple[NDArray[np.intp], NDArray[np.intp]]]

    @property
    def people(self) -> list[str]:
        """The person of each photo."""
        return self.table["person"].to_list()


def read_validation(path: Path, tasks: Sequence[Task]) -> Validation:
    """Read RUN/validation.csv, which was made with `tasks`."""
    table = pl.read_csv(path, schema_overrides={"path": pl.String, "person": pl.String})
    truths = np.stack([table[f"true_{task.name}"].to_numpy() for task in tasks], axis=1)
    joint_truth = np.array([joint_class(tasks, row) for row in truths.tolist()], dtype=np.intp)
    answers = np.array([split_joint(tasks, joint) for joint in table["class"]], dtype=np.intp)
    codes = {"joint": (joint_truth, table["class"].to_numpy().astype(np.intp))}
    for index, task in enumerate(tasks):
        codes[task.name] = (truths[:, index].astype(np.intp), answers[:, index])
    return Validation(table, codes)
