"""From a cached crop to the network's input; the same in training and prediction.

In: a crop as JPEG bytes. Out: its centre at the network's aspect ratio, RGB uint8 of the input size; for augmentation
that turns, shifts or shrinks the picture, also with the surroundings that the crop holds.
"""

import itertools

import cv2
import numpy as np
from numpy.typing import NDArray

from cache.errors import CacheError

Image = NDArray[np.uint8]
Margin = tuple[int, int]  # pixels of the input's scale above and below an input, and beside it
INPUT_VERSION = 1  # part of a packed array's key: raise it when the same crop gives different pixels
SURROUNDINGS_VERSION = 1  # the same for the pixels around an input
CROP_ASPECT = (4, 3)  # height and width of a crop, in any unit
MAX_MARGIN = 0.25  # of a side of the input; more would double memory again, for pixels that are seldom reached


def decode_crop(content: bytes) -> Image:
    """Decode a cached JPEG to RGB uint8 (h, w, 3).

    Raises:
        CacheError: the bytes are no image. The cache has verified that they are the ones that were written.
    """
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise CacheError("a crop in the cache is no JPEG; look for others with: faceline cache verify")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def to_input(crop: Image, size: tuple[int, int], zoom: float) -> Image:
    """Cut out the centre of the crop and resize it to `size`, keeping its proportions.

    Args:
        crop: RGB uint8 (h, w, 3).
        size: (height, width) of the result, in pixels.
        zoom: 1 takes the largest window of the aspect ratio of `size`; 2 takes half its height and width.
    """
    return with_surroundings(crop, size, zoom, (0, 0))


def with_surroundings(crop: Image, size: tuple[int, int], zoom: float, margin: Margin) -> Image:
    """Return the input, pixel for pixel as `to_input` makes it, and `margin` more pixels of the crop on each side.

    Where the crop ends before that, its border pixels are repeated.
    """
    scale = input_scale(crop.shape[:2], size, zoom)
    window = [max(round(side * scale), 1) for side in size]
    start = [(length - part) // 2 for length, part in zip(crop.shape[:2], window, strict=True)]
    around = [max(round(m * part / side), min(m, 1)) for m, part, side in zip(margin, window, size, strict=True)]

    # Repeat the crop's border where the surroundings reach beyond it.
    before = [max(a - s, 0) for a, s in zip(around, start, strict=True)]
    after = [max(s + w + a - n, 0) for s, w, a, n in zip(start, window, around, crop.shape[:2], strict=True)]
    if any(before + after):
        edges = (before[0], after[0], before[1], after[1])
        crop = np.asarray(cv2.copyMakeBorder(crop, *edges, cv2.BORDER_REPLICATE), dtype=np.uint8)

    # Resize up to nine parts one by one, so that the surroundings change no pixel of the input in the middle.
    method = cv2.INTER_AREA if window[0] > size[0] else cv2.INTER_LINEAR
    rows, columns = (
        _parts(start[axis] + before[axis] - around[axis], (around[axis], window[axis]), (margin[axis], size[axis]))
        for axis in (0, 1)
    )
    bands = [
        [cv2.resize(crop[y, x], (width, height), interpolation=method) for x, width in columns] for y, height in rows
    ]
    return np.concatenate([np.concatenate(band, axis=1) for band in bands], dtype=np.uint8)


def _parts(start: int, lengths: tuple[int, int], sides: tuple[int, int]) -> list[tuple[slice, int]]:
    """Return slices of a crop before, in and after the window, each with its length in the result, unless that is 0."""
    around, window = lengths
    edges = [start, start + around, start + around + window, start + 2 * around + window]
    parts = zip(itertools.pairwise(edges), (sides[0], sides[1], sides[0]), strict=True)
    return [(slice(*part), side) for part, side in parts if side]


def margin_of(size: tuple[int, int], zoom: float) -> Margin:
    """Return the margin around an input that its crop still reaches, at most `MAX_MARGIN` of each side."""
    scale = input_scale(CROP_ASPECT, size, zoom)
    height, width = (
        min(int((reach / scale - side) / 2), round(side * MAX_MARGIN))
        for reach, side in zip(CROP_ASPECT, size, strict=True)
    )
    return height, width


def centre_of(pixels: Image, margin: Margin) -> Image:
    """Return the inputs in pictures with surroundings, (..., H + 2 y, W + 2 x, 3) -> (..., H, W, 3); a view."""
    height, width = pixels.shape[-3:-1]
    return pixels[..., margin[0] : height - margin[0], margin[1] : width - margin[1], :]


def input_scale(crop: tuple[float, float], size: tuple[int, int], zoom: float) -> float:
    """Return how many crop pixels make one input pixel; `crop` and `size` are (height, width)."""
    return min(crop[0] / size[0], crop[1] / size[1]) / zoom
