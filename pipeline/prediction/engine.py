"""Predict a stream of photos with an ensemble of bundles.

photos -> read and decoded -> subjects -> crops -> inputs -> probabilities of each bundle -> their mean -> Predictions.

The stages overlap: while some threads find faces, cut crops and compute networks, each for its slice of photos, others
read and decode the next ones. The number of slices in memory is bounded, so that memory does not grow with the photos.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from cache.sources import split_part
from classify.inference.decision import Probabilities
from classify.inference.ensemble import Ensemble
from classify.preprocessing import to_input
from classify.tasks import joint_class
from detect.config import DetectConfig
from detect.failures import Failure
from detect.subject import Subject
from detect.subject_finder import SubjectFinder
from pipeline.context import RunContext
from pipeline.intake.photo import Photo
from pipeline.prediction.bundle_networks import BundleNetworks
from pipeline.prediction.crop_settings import read_crop_settings
from pipeline.prediction.photo_crops import (
    CachedCrops,
    FaceCrop,
    OpenedPhoto,
    Recipe,
    make_crop,
    open_photo,
    subjects_of,
)
from pipeline.prediction.prediction import Prediction, Schema, TaskPrediction
from pipeline.prediction.trained_on import training_marks

PHOTOS_AT_ONCE = {"cpu": 32, "cuda": 64}  # in a slice
MOST_GPU_LANES = 8  # slices that cut crops at the same time, while one is in the GPU's networks
SLICE_BYTES = 64 << 20  # of the decoded photos in a slice
BYTES_AT_WORK = 512 << 20  # of all slices that are worked on, on machines with many cores
FIRST = 2  # photos in the first slices, until their size is known
AHEAD = 2  # slices that are decoded in advance


class Engine:
    """Predicts photos; what it needs is loaded when it is first needed, and kept. Threads may share it.

    Args:
        ensemble: the bundles.
        context: device, workers, and the cache; of its settings, only `data.max_megapixels` and
            `predict.precision` count.
        use_cache: read crops that the cache holds; without it, the cache is not looked at.
        photos_at_once: the most photos in a slice; with 1, a prediction does not wait for the next photo, with None, it
            is what suits the device.

    Raises:
        BundleError: this version of faceline would not make the crops that a bundle was trained on.
    """

    def __init__(
        self, ensemble: Ensemble, context: RunContext, *, use_cache: bool, photos_at_once: int | None = None
    ) -> None:
        self._ensemble, self._context = ensemble, context
        self._recipes = [read_crop_settings(bundle.crop) for bundle in ensemble.bundles]
        self.schema = Schema(ensemble.tasks, any(rule.unsure_below for rule in ensemble.decision_rules.values()))
        self._cached = CachedCrops(context.cache, self._recipes) if use_cache else None
        self._device = context.torch_device()
        on_cpu = self._device == "cpu"
        self._photos_at_once = photos_at_once or PHOTOS_AT_ONCE["cpu" if on_cpu else "cuda"]
        self._lanes = max(context.workers if on_cpu else min(context.workers, MOST_GPU_LANES), 1)
        self._networks = [
            BundleNetworks(
                bundle,
                self._device,
                threads=self._lanes,
                cache=context.cache,
                precision=context.settings.predict.precision,
            )
            for bundle in ensemble.bundles
        ]
        self._are_networks_loaded = False
        self._finders: dict[DetectConfig, SubjectFinder] = {}
        self._loading = Lock()
        self._readers = ThreadPoolExecutor(max(context.workers, 1), "read")
        self._workers = ThreadPoolExecutor(self._lanes, "predict")

    def predict(self, photos: Iterable[Photo], sources: Mapping[Path, str] | None = None) -> Iterator[Prediction]:
        """Yield the prediction for each photo, in order; a photo that can't be read has one that says so.

        Args:
            photos: read as they are needed, a few slices ahead.
            sources: file -> source id of those that were hashed before.
        """
        running: deque[Future[list[Prediction]]] = deque()
        try:
            for opened in self._opened(photos, sources or {}):
                self._load(opened)
                running.append(self._workers.submit(self._predict_slice, opened))
                if len(running) > self._lanes:
                    yield from running.popleft().result()
            while running:
                yield from running.popleft().result()
        finally:  # also when the caller takes no more
            for future in running:
                future.cancel()

    def _opened(self, photos: Iterable[Photo], sources: Mapping[Path, str]) -> Iterator[list[OpenedPhoto]]:
        """Yield slices of opened photos; the next ones are read meanwhile."""
        waiting = iter(photos)
        ahead: deque[list[Future[OpenedPhoto]]] = deque()
        size = min(FIRST, self._photos_at_once)
        while True:
            while len(ahead) <= AHEAD and (photos_of_slice := list(islice(waiting, size))):
                ahead.append([self._readers.submit(self._open, photo, sources) for photo in photos_of_slice])
            if not ahead:
                return
            opened = [future.result() for future in ahead.popleft()]
            largest = max((image.nbytes for photo in opened if isinstance(image := photo.image, np.ndarray)), default=1)
            slice_bytes = min(SLICE_BYTES, BYTES_AT_WORK // self._lanes)
            size = max(1, min(slice_bytes // largest, self._photos_at_once))
            yield opened

    def _open(self, photo: Photo, sources: Mapping[Path, str]) -> OpenedPhoto:
        limit = self._context.settings.data.max_megapixels
        return open_photo(photo, sources.get(photo.path, ""), self._cached, limit)

    def _load(self, opened: Sequence[OpenedPhoto]) -> None:
        """Load the networks, and the detectors, if any photo needs them.

        In the caller's thread, before others detect: detectors count torch's threads, and switch off TF32 while they
        run, which a conversion of a network that is under way must not see.
        """
        if all(isinstance(photo.image, Failure) for photo in opened):
            return
        with self._loading:
            if not self._are_networks_loaded:
                for networks in self._networks:
                    networks.load()
                self._are_networks_loaded = True
            if not any(isinstance(photo.image, np.ndarray) for photo in opened):
                return
            for detect, _ in self._recipes:
                if detect not in self._finders:
                    self._finders[detect] = SubjectFinder(detect, self._device, self._context.workers)

    def _predict_slice(self, opened: Sequence[OpenedPhoto]) -> list[Prediction]:
        crops = self._crops(opened)  # per bundle, a crop or a Failure for each photo
        predicted: list[dict[str, Probabilities]] = []
        rows: list[NDArray[np.intp]] = []
        for networks, bundle_crops in zip(self._networks, crops, strict=True):
            readable = np.flatnonzero([isinstance(crop, FaceCrop) for crop in bundle_crops])
            pixels = [crop.pixels for crop in bundle_crops if isinstance(crop, FaceCrop)]
            inputs = {
                (size, zoom): np.stack([to_input(crop, size, zoom) for crop in pixels])
                if pixels else np.zeros((0, *size, 3), np.uint8)
                for size, zoom in networks.views
            }  # fmt: skip
            predicted.append(networks.probabilities(inputs, [opened[row].source for row in readable.tolist()]))
            rows.append(readable)

        # The bundles' mean, for the photos that the first bundle could read.
        mean: dict[str, Probabilities] = {}
        answers: dict[str, NDArray[np.intp]] = {}
        unsure: dict[str, NDArray[np.bool_]] = {}
        for task in self._ensemble.tasks:
            rule = self._ensemble.decision_rule(task.name)
            parts = [part[task.name] for part in predicted]
            mean[task.name] = self._ensemble.mean(task.name, parts, rows, len(opened))
            answers[task.name] = rule.answers(mean[task.name])
            unsure[task.name] = rule.unsure(mean[task.name], answers[task.name])

        predictions: list[Prediction] = []
        marks = training_marks(self._ensemble.bundles, [photo.source for photo in opened])
        row = 0
        for photo, crop, (fold, trained_on) in zip(opened, crops[0], marks, strict=True):
            if isinstance(crop, Failure):
                predictions.append(self._unreadable(photo, crop, fold, trained_on))
                continue
            tasks: dict[str, TaskPrediction] = {}
            codes: list[int] = []
            for task in self._ensemble.tasks:
                codes.append(int(answers[task.name][row]))
                probabilities = dict(zip(task.classes, mean[task.name][row].astype(float).tolist(), strict=True))
                tasks[task.name] = TaskPrediction(task.classes[codes[-1]], probabilities, bool(unsure[task.name][row]))
            predictions.append(self._readable(photo, crop, tasks, codes, fold, trained_on))
            row += 1
        return predictions

    def _crops(self, opened: Sequence[OpenedPhoto]) -> list[list[FaceCrop | Failure]]:
        """Return, for each bundle, a crop or a Failure for each photo; each detector looks at each photo once."""
        with_pixels = [photo for photo in opened if isinstance(photo.image, np.ndarray)]
        subjects: dict[DetectConfig, dict[int, Subject | Failure]] = {}
        for detect, _ in self._recipes:
            if with_pixels and detect not in subjects:
                found = subjects_of(with_pixels, self._finders[detect])
                subjects[detect] = {id(photo): subject for photo, subject in zip(with_pixels, found, strict=True)}
        made: dict[Recipe, list[FaceCrop | Failure]] = {}
        for number, (detect, crop) in enumerate(self._recipes):
            if (detect, crop) in made:
                continue
            crops: list[FaceCrop | Failure] = []
            for photo in opened:
                if photo.image is None:
                    crops.append(photo.cached[number])
                elif isinstance(photo.image, Failure):
                    crops.append(photo.image)
                else:
                    subject = subjects[detect][id(photo)]
                    crops.append(subject if isinstance(subject, Failure) else make_crop(photo, subject, crop))
            made[detect, crop] = crops
        return [made[recipe] for recipe in self._recipes]

    def _readable(
        self,
        photo: OpenedPhoto,
        crop: FaceCrop,
        tasks: dict[str, TaskPrediction],
        codes: Sequence[int],
        fold: int | None,
        trained_on: bool | None,
    ) -> Prediction:
        subject = crop.subject
        # A part's pixels begin elsewhere in the photo.
        _, part = split_part(photo.photo.path)
        left, top = part[:2] if part else (0, 0)
        x1, y1, x2, y2 = subject.box or crop.window
        landmarks = subject.landmarks and tuple((x + left, y + top) for x, y in subject.landmarks)
        return Prediction(
            photo.photo.name,
            "no_face" if subject.box is None else "ok",
            (float(x1 + left), float(y1 + top), float(x2 + left), float(y2 + top)),
            subject.score,
            landmarks,
            subject.found_by,
            tasks,
            joint_class(self._ensemble.tasks, codes),
            faces=subject.faces,
            fold=fold,
            trained_on=trained_on,
            schema=self.schema,
            photo=photo.photo,
        )

    def _unreadable(
        self, photo: OpenedPhoto, failure: Failure, fold: int | None, trained_on: bool | None
    ) -> Prediction:
        return Prediction(
            photo.photo.name, "unreadable", message=failure.message, reason=failure.reason, fold=fold,
            trained_on=trained_on, schema=self.schema, photo=photo.photo,
        )  # fmt: skip
