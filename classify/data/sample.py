"""A labelled crop, as the classifiers are trained on it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """One crop with its labels.

    Attributes:
        name: the photo's name, as in folds.csv.
        source: the photo's source id, which names its crop in the cache.
        person: the person in it.
        codes: one class index per task in the order of the settings; `UNLABELLED` where there is none.
        numbers: the label as a number for tasks with edges, else NaN; one per task.
        fold: the validation fold that it belongs to.
    """

    name: str
    source: str
    person: str
    codes: tuple[int, ...]
    numbers: tuple[float, ...]
    fold: int
