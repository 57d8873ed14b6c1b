"""Prediction from Python, in three lines:

from faceline import Predictor
predictor = Predictor("run/bundle")
table = predictor.predict(["a.jpg", "b.jpg"])
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from cache import cache_folder
from classify.bundle import load_bundle
from pipeline.config import load_settings
from pipeline.console import Show
from pipeline.job import Job
from pipeline.photos import Photo
from pipeline.predicting import predict_photos


class Predictor:
    """A trained bundle, ready for photos.

    Args:
        bundle: RUN/bundle of a training.
        device: "auto", "cpu", "cuda" or "cuda:n".
        cache: the crops' folder, or the URL of an object store; FACELINE_CACHE or the user's cache folder when None.

    Raises:
        BundleError: the bundle is damaged, incomplete or of a newer version.
    """

    def __init__(self, bundle: Path | str, *, device: str = "auto", cache: Path | str | None = None) -> None:
        self._bundle = load_bundle(Path(bundle))
        self._job = Job(load_settings(), cache_folder(cache), device, show=Show(quiet=True))

    def predict(self, photos: Sequence[Path | str]) -> pl.DataFrame:
        """One row per photo in the given order, with the columns of predictions.csv."""
        named = [Photo(Path(photo), str(photo), str(photo)) for photo in photos]
        return predict_photos(named, self._bundle, self._job).table
