"""Read a photo with OpenCV alone: file -> upright RGB image, or None if it is no photo that OpenCV can read.

The pixels are those of `detect/decode.py`, which reads more: HEIC, CMYK with its colours, and it says what is wrong
with a photo that can't be read.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detect.faces import Image

JPEG, PNG = b"\xff\xd8", b"\x89PNG"
START_OF_SCAN, END_OF_JPEG = 0xDA, b"\xff\xd9"  # between them, pixels never look like the end


def read_photo(path: Path) -> Image | None:
    """Read a photo as RGB uint8, (height, width, 3), upright by its EXIF orientation."""
    try:
        content = path.read_bytes()
        buffer = np.frombuffer(content, np.uint8)
        if not _is_whole(content):
            return None
        # OpenCV turns a photo upright only while it makes 8-bit BGR of it.
        raw: Any = None if content.startswith(JPEG) else cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)
        if raw is not None and raw.ndim == 2 and raw.dtype != np.uint8:
            return np.repeat(_grey_to_8_bit(raw)[..., None], 3, axis=2)
        if raw is not None and raw.ndim == 3 and raw.shape[2] == 4:
            return _on_white(raw)
        image: Any = cv2.imdecode(buffer, cv2.IMREAD_COLOR)
        return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    except (OSError, cv2.error):
        return None


def _is_whole(content: bytes) -> bool:
    """Whether a JPEG or PNG has its end: OpenCV would fill up with grey what a damaged file lacks."""
    if content.startswith(PNG):
        return b"IEND" in content
    if not content.startswith(JPEG):
        return bool(content)
    position = 2  # of the next segment
    while content[position : position + 1] == b"\xff" and len(content) > position + 4:
        if content[position + 1] == START_OF_SCAN:
            return content.find(END_OF_JPEG, position) >= 0
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return False


def _grey_to_8_bit(grey: Any) -> Any:
    top = 65535.0 if grey.max(initial=0) > 255 else 255.0
    return np.clip(grey * (255.0 / top), 0, 255).round().astype(np.uint8)


def _on_white(bgra: Any) -> Image:
    """Put a transparent image on a white background."""
    values = bgra.astype(np.float32) / (257 if bgra.dtype == np.uint16 else 1)
    alpha = values[..., 3:] / 255
    return (values[..., 2::-1] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
