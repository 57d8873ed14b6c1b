"""From a cached crop to what the network sees; the same at training and at prediction.

JPEG bytes -> RGB uint8 (h, w, 3) -> the crop's middle, at the network's aspect -> RGB uint8 of the input size.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from cache.errors import CacheError

Image = NDArray[np.uint8]
INPUT_VERSION = 1  # raise when the same crop gives other pixels: it is part of a packed array's key


def decode_crop(content: bytes) -> Image:
    """A crop of the cache as RGB uint8 (h, w, 3). The cache has checked that it is the JPEG that was written."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise CacheError("a crop in the cache is no JPEG; look for others with: faceline cache verify")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def to_input(crop: Image, size: tuple[int, int], zoom: float) -> Image:
    """The middle of the crop, resized to `size` without squeezing.

    Args:
        crop: RGB uint8 (h, w, 3).
        size: (height, width) of the result.
        zoom: 1 takes the largest window of the wanted aspect; 2 half its height and width.
    """
    height, width = crop.shape[:2]
    scale = input_scale((height, width), size, zoom)
    tall, wide = max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
    top, left = (height - tall) // 2, (width - wide) // 2
    middle = crop[top : top + tall, left : left + wide]
    method = cv2.INTER_AREA if tall > size[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(middle, (size[1], size[0]), interpolation=method), dtype=np.uint8)


def input_scale(crop: tuple[float, float], size: tuple[int, int], zoom: float) -> float:
    """How many pixels of a crop, (height, width), make one of the input, (height, width)."""
    return min(crop[0] / size[0], crop[1] / size[1]) / zoom
