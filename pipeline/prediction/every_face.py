"""Make a photo of each face, for predictions of all faces and not only of a photo's subject.

In: photos. Out: in the place of each, one Photo for each of its faces, with the part of the photo around it as content.
A photo without a face, or one that can't be read, stays as it is.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from cache.sources import part_path
from classify.inference.ensemble import Ensemble
from detect.config import CropConfig
from detect.decode import decode_content, decode_file
from detect.every_face import MIN_FACE, MIN_SCORE, EveryFaceFinder
from detect.faces import Image
from detect.failures import Failure
from detect.subject import Subject
from detect.window import ASPECT
from pipeline.context import RunContext
from pipeline.intake.photo import FaceOfPhoto, Photo
from pipeline.prediction.crop_settings import read_crop_settings

SLICE_BYTES, MOST = 256 << 20, 64  # of decoded photos, and photos, in memory at once
FIRST = 4  # photos until their size is known


@dataclass(frozen=True, slots=True)
class FaceSearch:
    """Which faces are looked for."""

    min_face: float = MIN_FACE  # shorter side of the smallest, in pixels
    min_score: float = MIN_SCORE  # the detector's


class EveryFace:
    """Finds the faces of photos with MTCNN and YuNet, and cuts out as much of the photo as the bundles' crops need."""

    def __init__(self, search: FaceSearch, ensemble: Ensemble, context: RunContext) -> None:
        settings = [read_crop_settings(bundle.crop) for bundle in ensemble.bundles]
        self._crops = [crop for _, crop in settings]
        self._max_megapixels = context.settings.data.max_megapixels
        self._threads = context.workers
        self._finder = EveryFaceFinder(
            settings[0][0], context.torch_device(), context.workers,
            min_face=search.min_face, min_score=search.min_score,
        )  # fmt: skip

    def batches(self, photos: Sequence[Photo]) -> Iterator[list[Photo]]:
        """Yield the photos' faces in lists that fit into memory, in the order of the photos."""
        start, size = 0, FIRST
        with ThreadPoolExecutor(self._threads, "decode") as pool:
            while start < len(photos):
                part = photos[start : start + size]
                images = list(pool.map(self._decode, part))
                yield list(self._faces(part, images))
                largest = max((image.nbytes for image in images if isinstance(image, np.ndarray)), default=1)
                start, size = start + len(part), max(min(SLICE_BYTES // largest, MOST), 1)

    def _decode(self, photo: Photo) -> Image | Failure:
        if photo.content is None:
            return decode_file(photo.path, max_megapixels=self._max_megapixels)
        return decode_content(photo.content, photo.path, max_megapixels=self._max_megapixels)

    def _faces(self, photos: Sequence[Photo], images: Sequence[Image | Failure]) -> Iterator[Photo]:
        found = iter(self._found([image for image in images if not isinstance(image, Failure)]))
        for photo, image in zip(photos, images, strict=True):
            subjects = [] if isinstance(image, Failure) else next(found)
            if isinstance(image, Failure) or not subjects:
                yield photo
                continue
            for number, subject in enumerate(subjects, 1):
                yield _face_photo(photo, image, number, subject, self._crops)

    def _found(self, images: Sequence[Image]) -> Iterable[list[Subject]]:
        """The faces of each image; after an error of the detector, image by image, without those that it fails on."""
        try:
            return self._finder.find(images)
        except Exception:  # of any kind: a photo on which the detector fails must not stop the others
            return [[]] if len(images) == 1 else [faces for image in images for faces in self._found([image])]


def _face_photo(photo: Photo, image: Image, number: int, subject: Subject, crops: Sequence[CropConfig]) -> Photo:
    """The Photo of one face of a photo."""
    assert subject.box is not None
    assert subject.landmarks is not None
    left, top, right, bottom = _part(subject.box, crops, image.shape[1], image.shape[0])
    x1, y1, x2, y2 = subject.box
    moved = replace(
        subject,
        box=(x1 - left, y1 - top, x2 - left, y2 - top),
        landmarks=tuple((x - left, y - top) for x, y in subject.landmarks),
    )
    return replace(
        photo,
        path=part_path(photo.path, (left, top, right - left, bottom - top)),
        name=f"{photo.name}#{number}",
        content=image[top:bottom, left:right],
        face=FaceOfPhoto(photo, number, moved),
    )


def _part(
    box: tuple[float, float, float, float], crops: Sequence[CropConfig], width: int, height: int
) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the part of a photo that holds all that the crops of a face may show."""
    x1, y1, x2, y2 = box
    # Half of the window's height, or of its diagonal where it may be turned, and some pixels that are interpolated.
    halves = [
        max(y2 - y1, (x2 - x1) / ASPECT) * (1 + 2 * crop.margin) / 2 * (math.hypot(1, ASPECT) if crop.align else 1) + 4
        for crop in crops
    ]
    x, y, half = (x1 + x2) / 2, (y1 + y2) / 2, max(halves)
    left, top = (min(max(int(start - half), 0), side - 1) for start, side in ((x, width), (y, height)))
    right, bottom = (
        max(min(math.ceil(end + half), side), start + 1) for end, side, start in ((x, width, left), (y, height, top))
    )
    return left, top, right, bottom
