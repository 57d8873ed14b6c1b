"""Photos that a bundle's networks were trained on: which networks predict them, and how they are marked.

In: bundles and source ids. Out: which networks predict each photo, and each photo's fold and whether it was trained on.

A photo of the run is predicted by the networks that were trained without its fold, if there are any: their prediction
is as good as that of a new photo. The other networks would only recall it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from classify.inference.bundle import Bundle
from classify.inference.trained_photos import UNKNOWN


def network_rows(bundle: Bundle, sources: Sequence[str]) -> NDArray[np.bool_]:
    """(networks, N) which network predicts which photo."""
    folds = _folds(bundle, sources)
    held_out = np.array([np.isin(folds, network.held_out) for network in bundle.networks])  # (networks, N)
    rows = np.ones_like(held_out)
    for task in bundle.tasks:
        voting = np.array([task in network.heads.tasks for network in bundle.networks])
        has_held_out = held_out[voting].any(axis=0)
        rows[voting] = np.where(has_held_out, held_out[voting], rows[voting])
    return rows


def training_marks(bundles: Sequence[Bundle], sources: Sequence[str]) -> list[tuple[int | None, bool | None]]:
    """Mark the photos that the bundles are from.

    Returns:
        For each photo its fold, that of the first bundle that knows the photo, and whether any network that predicts it
        was trained on it; both None for a new photo.
    """
    fold = np.full(len(sources), UNKNOWN, np.intp)
    is_trained_on = np.zeros(len(sources), np.bool_)
    for bundle in bundles:
        folds = _folds(bundle, sources)
        fold = np.where(fold == UNKNOWN, folds, fold)
        rows = network_rows(bundle, sources)
        for network, is_predicted in zip(bundle.networks, rows, strict=True):
            is_trained_on |= is_predicted & (folds != UNKNOWN) & ~np.isin(folds, network.held_out)
    pairs = zip(fold.tolist(), is_trained_on.tolist(), strict=True)
    return [(None, None) if number == UNKNOWN else (number, trained) for number, trained in pairs]


def _folds(bundle: Bundle, sources: Sequence[str]) -> NDArray[np.intp]:
    """(N,) the fold of each photo in the bundle's run, or UNKNOWN."""
    if bundle.trained_photos is None:
        return np.full(len(sources), UNKNOWN, np.intp)
    return bundle.trained_photos.folds_of(sources)
