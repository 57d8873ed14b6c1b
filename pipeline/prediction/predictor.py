"""Prediction from Python.

from faceline import Predictor
predictor = Predictor("RUN/bundle")
prediction = predictor.predict("a.jpg")
prediction.age.label
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from PIL import Image as Pillow

from cache import cache_folder
from cache.errors import UsageError
from cache.location import with_home
from classify.config import Precision
from classify.inference.ensemble import load_ensemble
from pipeline.console import Console
from pipeline.context import RunContext, available_cpus
from pipeline.intake.load import load_data
from pipeline.intake.photo import Photo
from pipeline.intake.photo_inputs import load_inputs
from pipeline.intake.sources import EVERY, OpenedSources, SourceOptions, check_sources
from pipeline.prediction.engine import Engine
from pipeline.prediction.photo_like import PhotoLike, photo_of, photos_of
from pipeline.prediction.prediction import Prediction, PredictionList
from pipeline.settings import load_settings


class Predictor:
    """Predicts photos with a trained bundle, or with the mean probabilities of several.

    A photo is a path, the bytes of a file, a PIL image, or an RGB uint8 array of shape (height, width, 3); OpenCV's
    images are BGR, so pass `image[..., ::-1]`. Networks and detectors are loaded by the first prediction and kept.
    Nothing is written. Threads may share a Predictor, and predict at the same time.

    Args:
        bundle: RUN/bundle of a training, several of them, or the folder that `faceline vote` wrote.
        device: "auto", "cpu", "cuda" or "cuda:n".
        cache: a folder with crops, or the URL of an object store, as `faceline detect` fills it: photos whose crops are
            there are predicted from these. None looks at no cache.
        workers: threads that read and predict; None for one per core.
        precision: "fp32", or "bf16" for networks that are faster on processors with bfloat16; see `predict.precision`.

    Raises:
        BundleError: a bundle is damaged, incomplete or of a newer version, or they predict different tasks.
    """

    def __init__(
        self,
        bundle: Path | str | Sequence[Path | str],
        *,
        device: str = "auto",
        cache: Path | str | None = None,
        workers: int | None = None,
        precision: Precision = "fp32",
    ) -> None:
        folders = [bundle] if isinstance(bundle, Path | str) else bundle
        ensemble = load_ensemble([with_home(folder) for folder in folders])
        settings, console = load_settings(None, [f"predict.precision={precision}"]), Console(quiet=True)
        context = RunContext(
            settings, cache_folder(cache), device, workers=workers or available_cpus(), console=console
        )
        self._engine = Engine(ensemble, context, use_cache=cache is not None)
        self._data_settings = settings.data

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """Task -> its classes, in the order of the class indices."""
        return {task.name: task.classes for task in self._engine.schema.tasks}

    @overload
    def predict(self, photos: PhotoLike, /) -> Prediction: ...
    @overload
    def predict(self, photos: Iterable[PhotoLike], /) -> PredictionList: ...
    def predict(self, photos: PhotoLike | Iterable[PhotoLike], /) -> Prediction | PredictionList:
        """Predict one photo, or several.

        Args:
            photos: one photo gives a Prediction, several give a PredictionList in the same order. A photo that can't be
                read has a Prediction that says so. For a folder, use `stream`.

        Raises:
            UsageError: something is no photo, or is a folder.
        """
        if isinstance(photos, str | Path | bytes | np.ndarray | Pillow.Image):
            photo = photo_of(photos)
            _refuse_folder(photo)
            [prediction] = self._engine.predict([photo])
            return prediction
        inputs = list(photos_of(photos))
        for photo in inputs:
            _refuse_folder(photo)
        return PredictionList(self._engine.predict(inputs), self._engine.schema)

    def stream(
        self,
        source: str | Path | Iterable[PhotoLike],
        *,
        every: int = EVERY,
        frames: int | None = None,
        allow_network: bool = False,
    ) -> Iterator[Prediction]:
        """Yield a Prediction for each photo of a source, in order; memory does not grow with their number.

        Args:
            source: what `faceline predict` takes: a photo, a folder, an archive, a video, "camera:0", a URL, a pattern
                such as `photos/*.jpg`, a table with a path column, or a .txt file with a path a line; or an iterable of
                photos. Some photos are read ahead.
            every: of a video or camera, predict every n-th frame.
            frames: of a video or camera, at most this many.
            allow_network: fetch photos that are URLs.

        Raises:
            UsageError: nothing is there, or something is no photo.
        """
        if not isinstance(source, str | Path):
            return self._engine.predict(photos_of(source))
        columns = {what: name for what, name in self._data_settings.columns.items() if what == "path"}
        config = self._data_settings.model_copy(update={"columns": columns})
        dataset = load_inputs([str(source)], lambda path: load_data(path, (), config))
        inputs = dataset.evaluation or dataset.train
        options = SourceOptions(every, frames, allow_network, self._data_settings.max_megapixels)
        check_sources(inputs, options)
        return self._engine.predict(OpenedSources(options).photos(inputs))


def _refuse_folder(photo: Photo) -> None:
    if photo.content is None and photo.path.is_dir():
        raise UsageError(f"{photo.name} is a folder; predictor.stream({photo.name!r}) predicts the photos in it")
