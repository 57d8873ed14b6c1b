"""Prediction from Python.

from faceline import Predictor
predictor = Predictor("run/bundle")
table = predictor.predict(["a.jpg", "b.jpg"])
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from cache import cache_folder
from classify.inference.ensemble import load_ensemble
from pipeline.console import Console
from pipeline.context import RunContext
from pipeline.intake.photo import Photo
from pipeline.prediction.predict import predict_photos, warn_of_dropped_factors
from pipeline.settings import load_settings


class Predictor:
    """Predicts photos with a trained bundle, or with the mean probabilities of several.

    Args:
        bundle: RUN/bundle of a training, several of them, or the folder that `faceline vote` wrote.
        device: "auto", "cpu", "cuda" or "cuda:n".
        cache: the crops' folder, or the URL of an object store; None means FACELINE_CACHE or the user's cache folder.

    Raises:
        BundleError: a bundle is damaged, incomplete or of a newer version, or they predict different tasks.
    """

    def __init__(
        self, bundle: Path | str | Sequence[Path | str], *, device: str = "auto", cache: Path | str | None = None
    ) -> None:
        folders = [bundle] if isinstance(bundle, Path | str) else bundle
        self._ensemble = load_ensemble([Path(folder) for folder in folders])
        self._context = RunContext(load_settings(), cache_folder(cache), device, console=Console(quiet=True))
        warn_of_dropped_factors(self._ensemble, self._context.console)

    def predict(self, photos: Sequence[Path | str]) -> pl.DataFrame:
        """Return one row per photo in the given order, with the columns of predictions.csv."""
        named = [Photo(Path(photo), str(photo), str(photo)) for photo in photos]
        return predict_photos(named, self._ensemble, self._context).table
