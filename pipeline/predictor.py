"""Prediction from Python, in three lines:

from faceline import Predictor
predictor = Predictor("run/bundle")
table = predictor.predict(["a.jpg", "b.jpg"])
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from cache import cache_folder
from classify.voters import load_voters
from pipeline.config import load_settings
from pipeline.console import Show
from pipeline.job import Job
from pipeline.photos import Photo
from pipeline.predicting import predict_photos


class Predictor:
    """A trained bundle, or several that vote, ready for photos.

    Args:
        bundle: RUN/bundle of a training, several of them, or the folder that `faceline vote` wrote.
        device: "auto", "cpu", "cuda" or "cuda:n".
        cache: the crops' folder, or the URL of an object store; FACELINE_CACHE or the user's cache folder when None.

    Raises:
        BundleError: a bundle is damaged, incomplete or of a newer version, or they tell different tasks.
    """

    def __init__(
        self, bundle: Path | str | Sequence[Path | str], *, device: str = "auto", cache: Path | str | None = None
    ) -> None:
        folders = [bundle] if isinstance(bundle, Path | str) else bundle
        self._voters = load_voters([Path(folder) for folder in folders])
        self._job = Job(load_settings(), cache_folder(cache), device, show=Show(quiet=True))

    def predict(self, photos: Sequence[Path | str]) -> pl.DataFrame:
        """One row per photo in the given order, with the columns of predictions.csv."""
        named = [Photo(Path(photo), str(photo), str(photo)) for photo in photos]
        return predict_photos(named, self._voters, self._job).table
