"""Who is told well and who is not: the held-out photos by what is true of them.

RUN/validation.csv -> for every combination of true classes and kind of photo, the share of right answers.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import polars as pl

from classify.evaluation.metrics import draw_people, interval_of
from classify.tasks import UNLABELLED, Task
from pipeline.evaluation.validation_table import Validation

MOST_KINDS = 12  # of file names: with more of them, a name says nothing of the kind of photo


def group_table(validation: Validation, tasks: Sequence[Task], *, draws: int = 1000, seed: int = 0) -> pl.DataFrame:
    """One row per group, the worst first.

    A group is what is true of a photo, as in "wear male >=60"; where a handful of file names come again for every
    person, as mask5 does in the competition, the name stands in it, too.

    Returns:
        group, photos, people, then the share of photos whose every answer is right and its 95% interval over people
        (accuracy, low, high), and the share of right answers of each task (right_TASK).
    """
    truths = {task.name: validation.codes[task.name] for task in tasks}
    labelled = np.min([truth != UNLABELLED for truth, _ in truths.values()], axis=0)
    stems = [PurePosixPath(path).stem for path in validation.table["path"]]
    kinds = stems if len(set(stems)) <= min(MOST_KINDS, len(stems) // 2) else [""] * len(stems)
    names = [
        " ".join([*([kind] if kind else []), *(task.classes[truths[task.name][0][row]] for task in tasks)])
        for row, kind in enumerate(kinds)
    ]
    right = {name: truth == told for name, (truth, told) in truths.items()}
    table = pl.DataFrame(
        {"group": names, "person": validation.people, "all": np.min([*right.values()], axis=0),
         **{f"right_{name}": one for name, one in right.items()}}
    ).filter(pl.Series(labelled))  # fmt: skip
    rows = [_row(name, part, tasks, draws, seed) for (name,), part in table.group_by("group", maintain_order=True)]
    columns = ["group", "photos", "people", "accuracy", "low", "high", *(f"right_{task.name}" for task in tasks)]
    return pl.DataFrame(rows, schema=columns, orient="row").sort("accuracy", "group")


def _row(name: object, part: pl.DataFrame, tasks: Sequence[Task], draws: int, seed: int) -> list[object]:
    people, person = np.unique(part["person"].to_numpy(), return_inverse=True)
    times = draw_people(len(people), draws, seed)
    photos = times @ np.bincount(person)
    low, high = interval_of((times @ np.bincount(person, part["all"].to_numpy())) / photos)
    shares = [part[f"right_{task.name}"].mean() for task in tasks]
    return [str(name), len(part), len(people), part["all"].mean(), low, high, *shares]
