"""Read a photo: file -> upright RGB image, or a Failure that says why not.

Detection, crops and prediction all read photos through this module. A change to its results needs a new
`DECODE_VERSION`, which is part of the cache's key.
"""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps

from detect.faces import Image

DECODE_VERSION = 1
MAX_PIXELS = 100_000_000
# Pillow reads dozens of formats, most of them rare and little tested; these are what cameras and phones write.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "AVIF")

Reason = Literal["missing", "empty_file", "not_an_image", "truncated", "too_large", "unreadable"]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one photo could not be used. A value, because one bad photo never stops a run."""

    path: Path
    reason: Reason
    message: str


def decode_file(path: Path) -> Image | Failure:
    """Read a photo as RGB uint8, (height, width, 3), upright by its EXIF orientation.

    Greyscale, palette, CMYK and 16-bit photos become RGB; transparent ones get a white background. Of an animation,
    the first frame is read. Photos of more than 100 megapixels are refused before any pixel is read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        return Failure(path, "missing", f"cannot be read: {error.strerror}")
    return decode_bytes(content, path)


def decode_bytes(content: bytes, path: Path) -> Image | Failure:
    """Like `decode_file`, for a photo whose bytes are in memory; `path` only names it."""
    if not content:
        return Failure(path, "empty_file", "the file is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about broken EXIF and the like; real problems raise an error
            with Pillow.open(io.BytesIO(content), formats=FORMATS) as photo:
                width, height = photo.size
                if width * height > MAX_PIXELS:
                    return _too_large(path, f"{width}x{height} pixels")
                return _to_rgb(_upright(photo))
    except Pillow.DecompressionBombError as error:
        return _too_large(path, str(error))
    except Pillow.UnidentifiedImageError:
        return Failure(path, "not_an_image", f"the content is not an image of a known format ({', '.join(FORMATS)})")
    except Exception as error:  # Pillow raises SyntaxError, ValueError, struct.error ... on broken files
        reason = "truncated" if "truncated" in str(error).lower() else "unreadable"
        return Failure(path, reason, f"the image is damaged: {error}")


def why_unreadable(path: Path) -> str | None:
    """Return the Failure's message, or None if the photo can be read."""
    image = decode_file(path)
    return image.message if isinstance(image, Failure) else None


def _too_large(path: Path, size: str) -> Failure:
    return Failure(path, "too_large", f"larger than {MAX_PIXELS // 1_000_000} megapixels: {size}")


def _upright(photo: Pillow.Image) -> Pillow.Image:
    photo.load()  # raises if truncated; exif_transpose alone does not if there is nothing to turn
    try:
        return ImageOps.exif_transpose(photo)
    except Exception:  # a broken EXIF block says nothing about the pixels
        return photo


def _to_rgb(photo: Pillow.Image) -> Image:
    if photo.mode in {"I", "F"} or photo.mode.startswith("I;16"):
        return _grey_to_rgb(np.asarray(photo, dtype=np.float64))
    if "A" in photo.mode or "a" in photo.mode or "transparency" in photo.info:
        photo = photo.convert("RGBA")
        photo = Pillow.alpha_composite(Pillow.new("RGBA", photo.size, "white"), photo)
    return np.ascontiguousarray(np.asarray(photo.convert("RGB")))


def _grey_to_rgb(grey: np.ndarray) -> Image:
    # Pillow's own conversion clips 16-bit values at 255, which turns the photo white.
    top = 65535.0 if grey.max(initial=0) > 255 else 255.0
    eight_bit = np.clip(grey * (255.0 / top), 0, 255).round().astype(np.uint8)
    return np.repeat(eight_bit[..., None], 3, axis=2)
