"""A labelled crop, as the classifiers are trained on it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """One crop with its labels."""

    name: str  # the photo's name, as in folds.csv
    source: str  # the photo's source id, which names its crop in the cache
    person: str  # the person in it
    codes: tuple[int, ...]  # one class index per task in the order of the settings; `UNLABELLED` where there is none
    numbers: tuple[float, ...]  # the label as a number for tasks with edges, else NaN; one per task
    fold: int  # the validation fold that it belongs to
