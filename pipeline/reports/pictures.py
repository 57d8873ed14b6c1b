"""The small pictures of a page, each embedded a single time, within a limit of bytes.

In: source ids of crops or photos. Out: `pictures.name(source)`, the CSS class that shows one, and the style sheet.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np

from cache.errors import CacheError
from cache.store import CropStore
from classify.preprocessing import decode_crop
from pipeline.reports.contact_sheets import Image, encode_image
from pipeline.reports.html import data_uri

WIDTH, HEIGHT = 72, 96  # pixels of a thumbnail
LARGE_WIDTH, LARGE_HEIGHT = 165, 220
MAX_BYTES = 4_000_000  # of all thumbnails of a page, in base64: the page stays below 8 MB
QUALITY = 70


@dataclass
class Pictures:
    """The pictures of a page.

    A thumbnail is a background picture in the style sheet: one that is shown in five places is there once.
    """

    read: Callable[[str], Image | None]  # by source id; None if there is none
    max_bytes: int = MAX_BYTES
    left_out: int = 0  # pictures that the limit has kept out
    missing: int = 0  # pictures that can't be read
    _uris: dict[str, str] = field(default_factory=dict[str, str])  # source -> data URI; "" if there is none
    _numbers: dict[str, int] = field(default_factory=dict[str, int])  # source -> the number of its CSS class
    _bytes: int = 0

    def name(self, source: str) -> str:
        """The CSS class that shows a crop; empty if it is missing or the page has no room for it."""
        return self.keep(source, partial(self.read, source), WIDTH, HEIGHT)

    def keep(self, key: str, picture: Callable[[], Image | None], width: int, height: int) -> str:
        """The CSS class of another picture, resized to fit; empty if it is missing or the page has no room for it."""
        if key not in self._uris:
            self._numbers[key] = len(self._numbers)
            self._uris[key] = self._embed(picture, width, height)
        return f"p{self._numbers[key]}" if self._uris[key] else ""

    def large(self, source: str) -> str:
        """The address of a larger picture of a crop; empty if it is missing."""
        crop = self.read(source)
        return "" if crop is None else data_uri(encode_image(fit(crop, LARGE_WIDTH, LARGE_HEIGHT), quality=QUALITY))

    def style(self) -> str:
        """A CSS rule for each thumbnail."""
        return "\n".join(
            f".p{number}{{background-image:url({self._uris[source]})}}"
            for source, number in self._numbers.items()
            if self._uris[source]
        )

    def _embed(self, read: Callable[[], Image | None], width: int, height: int) -> str:
        if self._bytes >= self.max_bytes:
            self.left_out += 1
            return ""
        picture = read()
        if picture is None:
            self.missing += 1
            return ""
        uri = data_uri(encode_image(fit(picture, width, height), quality=QUALITY))
        self._bytes += len(uri)
        return uri


def crops_of(store: CropStore) -> Callable[[str], Image | None]:
    """Read crops from the cache; None for one that it doesn't have."""

    def read(source: str) -> Image | None:
        try:
            return decode_crop(store.read(source))
        except (CacheError, ValueError):  # ValueError: it is no source id, as in a damaged table
            return None

    return read


def fit(picture: Image, width: int, height: int) -> Image:
    """Resize a picture to the largest size that fits into width x height pixels."""
    scale = min(height / picture.shape[0], width / picture.shape[1])
    size = (max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
