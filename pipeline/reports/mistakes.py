"""The worst mistakes of each task: the held-out photos whose true class got the lowest probability.

In: a Section of held_out.py. Out: photos with file name, person, probabilities and a large picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from classify.tasks import UNLABELLED, Task
from pipeline.evaluation.validation_table import Validation
from pipeline.reports.pictures import Pictures
from pipeline.task_names import probability_columns

SHOWN = 12  # of each task


@dataclass(frozen=True, slots=True)
class Mistake:
    """A held-out photo with a wrong answer."""

    row: int  # of validation.csv
    path: str
    person: str
    source: str
    fold: int
    true: str
    predicted: str
    probabilities: Sequence[tuple[str, float]]  # class, probability
    picture: str  # the address of a large picture; empty without one


def worst_mistakes(validation: Validation, task: Task, pictures: Pictures, count: int = SHOWN) -> list[Mistake]:
    """The mistakes of a task, the worst first."""
    true, predicted = validation.codes[task.name]
    probabilities = validation.table.select(probability_columns(task)).to_numpy()
    wrong = np.flatnonzero((true != UNLABELLED) & (true != predicted))
    wrong = wrong[np.argsort(probabilities[wrong, true[wrong]], kind="stable")][:count]
    mistakes: list[Mistake] = []
    for row in wrong.tolist():
        facts = validation.table.row(row, named=True)
        shares = list(zip(task.classes, probabilities[row].tolist(), strict=True))
        names = task.classes[true[row]], task.classes[predicted[row]]
        picture = pictures.large(facts["source"])
        mistakes.append(
            Mistake(row, facts["path"], facts["person"], facts["source"], facts["fold"], *names, shares, picture)
        )
    return mistakes
