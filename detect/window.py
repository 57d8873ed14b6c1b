"""Cut a face's window out of a photo.

photo (H, W, 3) uint8 RGB + face box -> 3:4 window -> crop (h, w, 3) uint8 RGB at the photo's scale or smaller.

Detection, retries and prediction all use the same function, so that a model gets the kind of crop that it was trained
on, pixel for pixel.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from detect.faces import Image

if TYPE_CHECKING:
    from detect.config import CropConfig  # with pydantic, which the runtime of an export does without

ASPECT = 3 / 4  # width to height
STEEPEST = 45.0  # degrees; a steeper line between the eyes is taken for a wrong detection

# Where a portrait's subject usually is, if no detector finds it: 96-98% of the reference data's face boxes lie inside
# (research figures for 384x512 photos: a 320x360 window contains 96.1% of them, and this one of 330x440 contains it).
FALLBACK_HEIGHT = 0.86
FALLBACK_CENTRE = (0.495, 0.49)


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle in pixels of the upright photo; it may extend beyond the photo's border.

    Its edges are integers if the pixels are copied unchanged.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    turn: float = 0.0  # clockwise rotation around its centre, in degrees

    def as_list(self) -> list[float]:
        """Return x1, y1, x2, y2, rounded as in the cache."""
        return [round(v, 2) for v in (self.x1, self.y1, self.x2, self.y2)]

    def is_pixel_exact(self) -> bool:
        """Whether its pixels can be copied from the photo unchanged."""
        return not self.turn and all(v == int(v) for v in (self.x1, self.y1, self.x2, self.y2))


def window_around(
    box: tuple[float, float, float, float], crop: "CropConfig", landmarks: Sequence[tuple[float, float]] | None = None
) -> Window:
    """Return the 3:4 window around a face box: its centre, and its height plus the margin above and below.

    Args:
        box: x1, y1, x2, y2 in pixels of the photo.
        crop: margin, maximum height, and whether to align.
        landmarks: (x, y) in pixels; with `crop.align`, the window is turned so that the first two, the eyes, are level.
    """
    x1, y1, x2, y2 = box
    height = max(y2 - y1, (x2 - x1) / ASPECT) * (1 + 2 * crop.margin)
    turn = _tilt(landmarks) if crop.align and landmarks else 0.0
    if not turn and round(height) <= crop.max_height:
        return _centred((x1 + x2) / 2, (y1 + y2) / 2, height)
    # The pixels are resampled anyway, so the window need not snap to them.
    x, y, wide = (x1 + x2) / 2, (y1 + y2) / 2, height * ASPECT
    return Window(x - wide / 2, y - height / 2, x + wide / 2, y + height / 2, turn)


def fallback_window(photo_height: int, photo_width: int) -> Window:
    """Return the 3:4 window in which a portrait's face is expected, for a photo of this size in pixels."""
    height = FALLBACK_HEIGHT * min(photo_height, photo_width / ASPECT)
    return _centred(FALLBACK_CENTRE[0] * photo_width, FALLBACK_CENTRE[1] * photo_height, height)


def cut(photo: Image, window: Window, crop: "CropConfig") -> Image:
    """Cut `window` out of a photo and shrink it if it is taller than `crop.max_height`.

    Outside the photo, the border pixels are repeated. Shrinking averages, so that fine patterns do not alias.
    """
    inside = _copied(photo, window) if window.is_pixel_exact() else _resampled(photo, window)
    height, width = inside.shape[:2]
    if height > crop.max_height:
        size = (max(round(width * crop.max_height / height), 1), crop.max_height)
        inside = cv2.resize(inside, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(inside, dtype=np.uint8)


def _copied(photo: Image, window: Window) -> Image:
    x1, y1, x2, y2 = (int(v) for v in (window.x1, window.y1, window.x2, window.y2))
    tall, wide = photo.shape[:2]
    # The part inside the photo, or the pixels nearest to it.
    top, left = min(max(y1, 0), tall - 1), min(max(x1, 0), wide - 1)
    inside = photo[top : max(min(y2, tall), top + 1), left : max(min(x2, wide), left + 1)]
    over = (max(-y1, 0), max(y2 - tall, 0), max(-x1, 0), max(x2 - wide, 0))
    if any(over):
        inside = cv2.copyMakeBorder(inside, *over, cv2.BORDER_REPLICATE)[: y2 - y1, : x2 - x1]
    return np.asarray(inside, dtype=np.uint8)


def _resampled(photo: Image, window: Window) -> Image:
    """Interpolate the window's pixels, at the photo's scale."""
    size = (max(round(window.x2 - window.x1), 1), max(round(window.y2 - window.y1), 1))
    # OpenCV's coordinates refer to pixel centres, the window's to pixel edges.
    middle = np.array([window.x1 + window.x2 - 1, window.y1 + window.y2 - 1]) / 2
    if not window.turn:
        return np.asarray(cv2.getRectSubPix(photo, size, middle.tolist()), dtype=np.uint8)
    angle = math.radians(window.turn)
    turned = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    start = middle - turned @ ((np.array(size) - 1) / 2)
    to_photo = np.concatenate([turned, start[:, None]], 1)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    turned_photo = cv2.warpAffine(photo, to_photo, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(turned_photo, dtype=np.uint8)


def encode(image: Image, crop: "CropConfig") -> bytes:
    """Encode a crop as JPEG with full colour resolution (4:4:4)."""
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    options = [cv2.IMWRITE_JPEG_QUALITY, crop.quality, *sampling]
    done, content = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise ValueError(f"OpenCV cannot encode an image of shape {image.shape}")
    return content.tobytes()


def _tilt(landmarks: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the line between the eyes in degrees, positive if it falls to the right; 0 if too steep."""
    (left_x, left_y), (right_x, right_y) = landmarks[:2]
    tilt = math.degrees(math.atan2(right_y - left_y, right_x - left_x))
    return tilt if abs(tilt) <= STEEPEST else 0.0


def _centred(x: float, y: float, height: float) -> Window:
    """Return the pixel-exact 3:4 window of about this height around (x, y)."""
    tall = max(round(height), 4)
    wide = max(round(tall * ASPECT), 3)
    x1, y1 = round(x - wide / 2), round(y - tall / 2)
    return Window(x1, y1, x1 + wide, y1 + tall)
