"""Make a photo's crops as training made them, in memory.

In: photos, and the crop settings of a bundle. Out: for each photo, the subject and its crop, or why there is none.

A crop that the cache has is read from there. Others are made and thrown away: nothing is written.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from cache.sources import source_id
from cache.store import CropStore
from cache.unit import OK
from classify.preprocessing import decode_crop
from detect.cached_detector import find_subjects
from detect.config import CropConfig, DetectConfig
from detect.decode import decode_content, read_file
from detect.faces import Image
from detect.failures import Failure, failure_of
from detect.fingerprints import crop_spec
from detect.subject import Subject
from detect.subject_finder import SubjectFinder
from detect.window import cut, encode
from pipeline.intake.photo import Photo

Recipe = tuple[DetectConfig, CropConfig]  # what decides the pixels of a crop


@dataclass(frozen=True, slots=True, eq=False)
class FaceCrop:
    """The subject of a photo and its crop."""

    subject: Subject
    window: tuple[float, float, float, float]  # what was cut, in pixels of the photo (or of its part)
    pixels: Image


@dataclass(frozen=True, slots=True, eq=False)
class OpenedPhoto:
    """A photo that was read: its pixels, unless the cache has all its crops, or why it can't be read."""

    photo: Photo
    source: str  # source id; empty for a photo that is pixels
    image: Image | Failure | None  # None if all crops are cached
    cached: Sequence[FaceCrop] = ()  # one for each recipe, if all of them are cached


class CachedCrops:
    """The crops that the cache holds for some recipes; threads may share it."""

    def __init__(self, root: Path, recipes: Sequence[Recipe]) -> None:
        self._stores = [CropStore(root, crop_spec(detect, crop)) for detect, crop in recipes]
        self._lock = Lock()

    def read(self, source: str) -> Sequence[FaceCrop] | None:
        """Return a photo's crop for each recipe; None unless all are there."""
        with self._lock:
            entries = [store.entry(source) for store in self._stores]
        crops: list[FaceCrop] = []
        for store, entry in zip(self._stores, entries, strict=True):
            if entry is None or entry.outcome != OK:
                return None
            x1, y1, x2, y2 = entry.facts["window"]
            pixels = decode_crop(store.read(source))
            crops.append(FaceCrop(Subject.from_facts(entry.facts), (x1, y1, x2, y2), pixels))
        return crops


def open_photo(photo: Photo, source: str, cached: CachedCrops | None, max_megapixels: float) -> OpenedPhoto:
    """Read a photo: its crops from the cache if they are there, else its pixels.

    Args:
        photo: in a file or in memory.
        source: its source id, if that is known; else empty.
        cached: where crops are looked for.
        max_megapixels: larger photos are not read.
    """
    if cached and source and (crops := cached.read(source)):
        return OpenedPhoto(photo, source, None, crops)
    content = read_file(photo.path) if photo.content is None else photo.content
    if isinstance(content, bytes):
        found = source_id(content, photo.path)
        if source and found != source:
            failure = Failure(photo.path, "changed", "the file was changed while it was read; run the command again")
            return OpenedPhoto(photo, source, failure)
        if cached and not source and (crops := cached.read(found)):
            return OpenedPhoto(photo, found, None, crops)
        source = found
    elif not isinstance(content, Failure) and not content.size:
        content = Failure(photo.path, "unreadable", "the image has no pixels")
    return OpenedPhoto(photo, source, decode_content(content, photo.path, max_megapixels=max_megapixels))


def subjects_of(photos: Sequence[OpenedPhoto], finder: SubjectFinder) -> Iterator[Subject | Failure]:
    """Yield the subject of each photo, all of which have pixels: the given one, else what the detector finds.

    Raises:
        DetectionError: the detector does not work.
    """
    images: list[Any] = [(photo.photo.path, photo.image) for photo in photos if photo.photo.face is None]
    found = iter(find_subjects(finder, images) if images else ())
    for photo in photos:
        yield next(found) if photo.photo.face is None else photo.photo.face.subject


def make_crop(photo: OpenedPhoto, subject: Subject, crop: CropConfig) -> FaceCrop | Failure:
    """Cut the crop as the cache would return it: encoded as JPEG and decoded again."""
    assert photo.image is not None
    assert not isinstance(photo.image, Failure)
    try:
        window = subject.window(photo.image.shape[0], photo.image.shape[1], crop)
        pixels = decode_crop(encode(cut(photo.image, window, crop), crop))
    except Exception as error:  # a full memory, mostly; no photo may stop the run
        return failure_of(error, photo.photo.path, "its crop can't be cut")
    x1, y1, x2, y2 = window.as_list()
    return FaceCrop(subject, (x1, y1, x2, y2), pixels)
