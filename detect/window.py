"""Cut a face's window out of a photo.

photo (H, W, 3) uint8 RGB + face box -> 3:4 window -> crop (h, w, 3) uint8 RGB at the photo's own scale, never enlarged.

One function cuts for detection, retries and prediction alike: a crop at prediction time must be the crop that the model
was trained on, pixel for pixel.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from detect.config import CropConfig
from detect.faces import Image

ASPECT = 3 / 4  # width to height

# Where a portrait's subject is when no detector finds it: of the reference data's face boxes, 96-98% lie inside
# (research figures for 384x512 photos: a 320x360 window holds 96.1%, this one of 330x440 contains it).
FALLBACK_HEIGHT = 0.86
FALLBACK_CENTRE = (0.495, 0.49)


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle in whole pixels of the upright photo; it may reach over the photo's border."""

    x1: int
    y1: int
    x2: int
    y2: int

    def as_list(self) -> list[int]:
        """x1, y1, x2, y2."""
        return [self.x1, self.y1, self.x2, self.y2]


def window_around(box: tuple[float, float, float, float], crop: CropConfig) -> Window:
    """The 3:4 window whose middle is the face box's and whose height is the box's plus the margin on both sides."""
    x1, y1, x2, y2 = box
    height = max(y2 - y1, (x2 - x1) / ASPECT) * (1 + 2 * crop.margin)
    return _centred((x1 + x2) / 2, (y1 + y2) / 2, height)


def fallback_window(photo_height: int, photo_width: int) -> Window:
    """The 3:4 window in which a portrait's face is expected."""
    height = FALLBACK_HEIGHT * min(photo_height, photo_width / ASPECT)
    return _centred(FALLBACK_CENTRE[0] * photo_width, FALLBACK_CENTRE[1] * photo_height, height)


def cut(photo: Image, window: Window, crop: CropConfig) -> Image:
    """The pixels of `window`, shrunk to `crop.max_height` when it is taller; the border's pixels go on outside."""
    # The part within the photo, or the pixels nearest to it.
    top, left = min(max(window.y1, 0), photo.shape[0] - 1), min(max(window.x1, 0), photo.shape[1] - 1)
    bottom, right = max(min(window.y2, photo.shape[0]), top + 1), max(min(window.x2, photo.shape[1]), left + 1)
    inside = photo[top:bottom, left:right]
    over = (
        max(-window.y1, 0),
        max(window.y2 - photo.shape[0], 0),
        max(-window.x1, 0),
        max(window.x2 - photo.shape[1], 0),
    )
    if any(over):
        inside = cv2.copyMakeBorder(inside, *over, cv2.BORDER_REPLICATE)
        inside = inside[: window.y2 - window.y1, : window.x2 - window.x1]
    height, width = inside.shape[:2]
    if height > crop.max_height:
        size = (max(round(width * crop.max_height / height), 1), crop.max_height)
        inside = cv2.resize(inside, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(inside, dtype=np.uint8)


def encode(image: Image, crop: CropConfig) -> bytes:
    """The crop as a JPEG file with full colour resolution."""
    quality = [
        cv2.IMWRITE_JPEG_QUALITY,
        crop.quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    done, content = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    if not done:
        raise ValueError(f"OpenCV cannot encode an image of shape {image.shape}")
    return content.tobytes()


def _centred(x: float, y: float, height: float) -> Window:
    tall = max(round(height), 4)
    wide = max(round(tall * ASPECT), 3)
    x1, y1 = round(x - wide / 2), round(y - tall / 2)
    return Window(x1, y1, x1 + wide, y1 + tall)
