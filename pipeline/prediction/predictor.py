"""Prediction from Python.

from faceline import Predictor
predictor = Predictor("run/bundle")
table = predictor.predict(["a.jpg", "b.jpg"])
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock

import polars as pl

from cache import cache_folder
from cache.errors import CacheError
from cache.location import with_home
from classify.inference.ensemble import load_ensemble
from pipeline.console import Console
from pipeline.context import RunContext
from pipeline.intake.photo import Photo
from pipeline.prediction.predict import predict_photos
from pipeline.settings import load_settings


class Predictor:
    """Predicts photos with a trained bundle, or with the mean probabilities of several.

    Networks, detectors and the cache's index are loaded by the first call and kept. Threads may share a Predictor;
    their calls wait for each other.

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
        self._ensemble = load_ensemble([with_home(folder) for folder in folders])
        console = Console(quiet=True)
        self._context = RunContext(load_settings(), cache_folder(cache), device, console=console, kept={})
        self._lock = Lock()

    def predict(self, photos: Path | str | Iterable[Path | str]) -> pl.DataFrame:
        """Return one row per photo in the given order, with the columns of predictions.csv.

        Args:
            photos: their paths; a single path is a single photo. A photo that can't be read has a row that says so.
        """
        paths = [photos] if isinstance(photos, Path | str) else photos
        named = [Photo(with_home(path), str(path), str(path)) for path in paths]
        with self._lock:
            try:
                return predict_photos(named, self._ensemble, self._context).table
            except CacheError:  # the cache may have been cleaned up since it was opened
                assert self._context.kept is not None
                self._context.kept.clear()
                return predict_photos(named, self._ensemble, self._context).table
