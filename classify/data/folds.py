"""Split photos into folds so that no person is in two of them.

(person, source id, joint class) per photo -> fold per photo.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet
from sklearn.model_selection import StratifiedGroupKFold

from cache.errors import DataError


def join_people(people: Sequence[str], sources: Sequence[str]) -> NDArray[np.intp]:
    """(N,) the group number of each photo: one group per person, or for several people who share a photo.

    Args:
        people: the person of each photo.
        sources: the source id of each photo; identical files have the same id.
    """
    # Union-find over people and files: otherwise, one photo under two names could be in two folds.
    nodes = DisjointSet([*(("person", person) for person in people), *(("source", source) for source in sources)])
    for person, source in zip(people, sources, strict=True):
        nodes.merge(("person", person), ("source", source))
    roots = [nodes["person", person] for person in people]
    numbers = {group: number for number, group in enumerate(dict.fromkeys(roots))}
    return np.array([numbers[group] for group in roots], dtype=np.intp)


def make_folds(groups: NDArray[np.intp], classes: NDArray[np.intp], *, folds: int, seed: int) -> NDArray[np.intp]:
    """(N,) the fold in [0, folds) of each photo, with the classes spread as evenly as the groups allow.

    Args:
        groups: (N,) group of each photo; a group is never divided.
        classes: (N,) joint class of each photo, -1 where a label is missing.
        folds: number of folds; reduced to the number of groups when there are fewer.
        seed: of the shuffle.

    Raises:
        DataError: there are fewer than two groups.
    """
    count = len(np.unique(groups))
    if count < 2:
        raise DataError(
            f"all {len(groups)} labelled photos belong to {count} person, so nobody is left to validate on.\n"
            "Add photos of other people, or name the person column with --set data.columns.person=NAME."
        )
    splitter = StratifiedGroupKFold(n_splits=min(folds, count), shuffle=True, random_state=seed)
    fold = np.zeros(len(groups), dtype=np.intp)
    with warnings.catch_warnings():
        # A class with fewer photos than folds can't be in all of them; `faceline check` shows the counts.
        warnings.simplefilter("ignore", UserWarning)
        # One such class is fine, but scikit-learn refuses when all classes are too rare: then the split ignores them.
        y = classes if np.bincount(classes + 1).max() >= min(folds, count) else np.zeros_like(classes)
        for number, (_, held_out) in enumerate(splitter.split(np.zeros(len(groups)), y, groups)):
            fold[held_out] = number
    return fold
