"""Photos that a bundle's networks were trained on: which networks predict them, and how they are marked.

In: bundles and source ids. Out: which networks predict each photo, and the columns `fold` and `trained_on`.

A photo of the run is predicted by the networks that were trained without its fold, if there are any: their prediction
is as good as that of a new photo. The other networks would only recall it.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
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


def trained_on_columns(bundles: Sequence[Bundle], sources: Sequence[str]) -> dict[str, pl.Series]:
    """Mark the photos that the bundles are from.

    Returns:
        `fold`, that of the first bundle that knows the photo, and `trained_on`, whether any network that predicts it
        was trained on it; both null for a new photo. No columns if all photos are new.
    """
    fold = np.full(len(sources), UNKNOWN, np.intp)
    is_trained_on = np.zeros(len(sources), np.bool_)
    for bundle in bundles:
        folds = _folds(bundle, sources)
        fold = np.where(fold == UNKNOWN, folds, fold)
        rows = network_rows(bundle, sources)
        for network, is_predicted in zip(bundle.networks, rows, strict=True):
            is_trained_on |= is_predicted & (folds != UNKNOWN) & ~np.isin(folds, network.held_out)
    is_known = fold != UNKNOWN
    if not is_known.any():
        return {}
    marks = pl.DataFrame({"fold": fold, "trained_on": is_trained_on, "known": is_known})
    known = pl.when("known")
    return dict(marks.select(fold=known.then("fold"), trained_on=known.then("trained_on")).to_dict())


def _folds(bundle: Bundle, sources: Sequence[str]) -> NDArray[np.intp]:
    """(N,) the fold of each photo in the bundle's run, or UNKNOWN."""
    if bundle.trained_photos is None:
        return np.full(len(sources), UNKNOWN, np.intp)
    return bundle.trained_photos.folds_of(sources)
