"""What the classifiers learn from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classify.config import TaskConfig
from classify.tasks import UNLABELLED


@dataclass(frozen=True, slots=True)
class Sample:
    """One crop with its labels.

    Attributes:
        name: the photo's name, as in folds.csv.
        source: the photo's source id, which names its crop in the cache.
        person: who is in it.
        codes: one class index per task in config order; `UNLABELLED` where there is none.
        numbers: the label as a number for tasks with edges, else NaN; one per task.
        fold: the validation fold it belongs to.
    """

    name: str
    source: str
    person: str
    codes: tuple[int, ...]
    numbers: tuple[float, ...]
    fold: int


def rows_to_train(
    samples: Sequence[Sample], task_index: int, config: TaskConfig, held_out: int | None
) -> NDArray[np.intp]:
    """Indices of the samples that one task trains on: labelled, not in the held-out fold, not in a dropped range."""

    def wanted(sample: Sample) -> bool:
        number = sample.numbers[task_index]
        dropped = any(low <= number <= high for low, high in config.drop)
        return sample.codes[task_index] != UNLABELLED and sample.fold != held_out and not dropped

    return np.flatnonzero([wanted(sample) for sample in samples])


def rows_to_validate(samples: Sequence[Sample], task_index: int, held_out: int | None) -> NDArray[np.intp]:
    """Indices of the held-out fold's samples that are labelled; dropped ranges are in, as they are at prediction."""
    return np.flatnonzero([s.fold == held_out and s.codes[task_index] != UNLABELLED for s in samples])
