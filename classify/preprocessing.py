"""From a cached crop to the network's input; the same in training and prediction.

In: a crop as JPEG bytes. Out: its centre at the network's aspect ratio, RGB uint8 of the input size.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from cache.errors import CacheError

Image = NDArray[np.uint8]
INPUT_VERSION = 1  # part of a packed array's key: raise it when the same crop gives different pixels


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
    height, width = crop.shape[:2]
    scale = input_scale((height, width), size, zoom)
    window_height, window_width = max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
    top, left = (height - window_height) // 2, (width - window_width) // 2
    window = crop[top : top + window_height, left : left + window_width]
    method = cv2.INTER_AREA if window_height > size[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(window, (size[1], size[0]), interpolation=method), dtype=np.uint8)


def input_scale(crop: tuple[float, float], size: tuple[int, int], zoom: float) -> float:
    """Return how many crop pixels make one input pixel; `crop` and `size` are (height, width)."""
    return min(crop[0] / size[0], crop[1] / size[1]) / zoom
