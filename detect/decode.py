"""Read a photo: file -> upright RGB image, or a Failure that says why not.

Detection, crops and prediction all read photos through this module. A change to its results needs a new
`DECODE_VERSION`, which is part of the cache's key; a format that is added needs none.
"""

import importlib.util
import io
import math
import re
import stat
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps, features

from cache.sources import Part, source_id, split_part
from detect.faces import Image
from detect.failures import DAMAGED, MAX_MEGAPIXELS, NO_DECODER, Failure, first_line, is_memory_error
from detect.formats import FORMATS, HEIC_EXTRA
from detect.isolated import decode_isolated, is_isolated

DECODE_VERSION = 1
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
AVIF_BRANDS = {b"avif", b"avis"}


def decode_file(path: Path, *, max_megapixels: float = MAX_MEGAPIXELS, source: str = "") -> Image | Failure:
    """Read a photo as RGB uint8, (height, width, 3), upright by its EXIF orientation.

    Greyscale, palette, CMYK and 16-bit photos become RGB; transparent ones get a white background. Of an animation or a
    file with several pages, the first one is read. Larger photos are refused before any pixel is read.

    Args:
        path: the file, or a part of it: see `cache.sources`. Outside the photo, the part has the border's pixels.
        max_megapixels: the largest photo to read.
        source: the source id that the bytes must have, if it is known.
    """
    content = read_file(path)
    if isinstance(content, Failure):
        return content
    if source and source_id(content, path) != source:
        return Failure(path, "changed", "the file was changed while it was read; run the command again")
    return decode_bytes(content, path, max_megapixels=max_megapixels)


def read_file(path: Path) -> bytes | Failure:
    """Return the bytes of a photo's file; of a part of a photo, those of the file that it is a part of."""
    file, _ = split_part(path)
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # opening a pipe waits for a writer, and a device may have no end
            return Failure(path, "missing", "cannot be read: not a regular file")
        return file.read_bytes()
    except OSError as error:
        return Failure(path, "missing", f"cannot be read: {error.strerror}")
    except ValueError as error:  # a name with a NUL
        return Failure(path, "missing", f"cannot be read: {error}")
    except MemoryError:
        return _no_memory(path)


def decode_bytes(content: bytes, path: Path, *, max_megapixels: float = MAX_MEGAPIXELS) -> Image | Failure:
    """Like `decode_file`, for a photo whose bytes are in memory; `path` names it, and the part of it that is meant."""
    if is_isolated():
        image = decode_isolated(_decode, content, path, max_megapixels)
    else:
        image = _decode(content, path, max_megapixels)
    _, part = split_part(path)
    return image if part is None or isinstance(image, Failure) else _cut_part(image, part, path, max_megapixels)


def _decode(content: bytes, path: Path, max_megapixels: float) -> Image | Failure:
    if not content:
        return Failure(path, "empty_file", "the file is empty (0 bytes)")
    if max_megapixels > MAX_MEGAPIXELS and Pillow.MAX_IMAGE_PIXELS:  # Pillow has a limit, too: raise it with ours
        Pillow.MAX_IMAGE_PIXELS = max(Pillow.MAX_IMAGE_PIXELS, int(max_megapixels * 1e6))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about broken EXIF and the like; real problems raise an error
            with _opened(content) as photo:
                width, height = photo.size
                if width * height > max_megapixels * 1e6:
                    return _too_large(path, width * height, f"{width}x{height} pixels", max_megapixels)
                return to_rgb(upright(photo))
    except Pillow.DecompressionBombError as error:
        pixels = re.search(r"(\d+) pixels", str(error))
        return _too_large(path, int(pixels[1]) if pixels else 0, str(error), max_megapixels)
    except ImportError:
        return Failure(path, "no_decoder", f"a HEIC photo, which needs an extra: {HEIC_EXTRA}")
    except Pillow.UnidentifiedImageError:
        for name, is_it in (("avif", _brands(content) & AVIF_BRANDS), ("webp", content[8:12] == b"WEBP")):
            if is_it and not features.check(name):
                return Failure(path, "no_decoder", f"this build of Pillow can't read {name.upper()}; install its wheel")
        message = f"the content is not an image of a known format ({', '.join(FORMATS)})"
        return Failure(path, "not_an_image", message, {"formats": list(FORMATS)})
    except Exception as error:  # Pillow raises SyntaxError, ValueError, struct.error ... on broken files
        if is_memory_error(error):
            return _no_memory(path)
        if NO_DECODER.search(str(error)):
            return Failure(path, "no_decoder", f"what it is compressed with can't be read here: {error}")
        reason = "truncated" if "truncated" in str(error).lower() else "unreadable"
        return Failure(path, reason, f"{DAMAGED}{first_line(error)}")


def decoders() -> str:
    """The names of the decoders that are there and elsewhere may not be: "no_decoder" depends on them."""
    codecs = [name for name in ("avif", "webp", "jpg", "jpg_2000", "zlib", "libtiff") if features.check(name)]
    return " ".join([*codecs, *["heif"] * (importlib.util.find_spec("pillow_heif") is not None)])


def decode_content(
    content: bytes | Image | Failure, path: Path, *, max_megapixels: float = MAX_MEGAPIXELS
) -> Image | Failure:
    """Like `decode_file`, for a photo in memory.

    Args:
        content: the bytes of a file; or pixels, of which a part is cut out already; or why there is nothing.
        path: what the photo is called; of bytes, also which part is meant.
        max_megapixels: the largest photo to read.
    """
    if isinstance(content, Failure):
        return content
    if not isinstance(content, bytes):
        pixels = content.shape[0] * content.shape[1]
        size = f"{content.shape[1]}x{content.shape[0]} pixels"
        return _too_large(path, pixels, size, max_megapixels) if pixels > max_megapixels * 1e6 else content
    return decode_bytes(content, path, max_megapixels=max_megapixels)


def why_unreadable(path: Path, *, max_megapixels: float = MAX_MEGAPIXELS) -> str | None:
    """Return the Failure's message, or None if the photo can be read."""
    image = decode_file(path, max_megapixels=max_megapixels)
    return image.message if isinstance(image, Failure) else None


def _cut_part(image: Image, part: Part, path: Path, max_megapixels: float) -> Image | Failure:
    (x, y, width, height), (tall, wide) = part, image.shape[:2]
    if not (0 <= x + width / 2 < wide and 0 <= y + height / 2 < tall):
        return Failure(path, "unreadable", f"the face's box is outside the photo, which has {wide}x{tall} pixels")
    if width * height > max_megapixels * 1e6:
        return _too_large(path, width * height, f"{width}x{height} pixels around the face", max_megapixels)
    rows, columns = np.arange(y, y + height).clip(0, tall - 1), np.arange(x, x + width).clip(0, wide - 1)
    return np.ascontiguousarray(image[rows[:, None], columns])


def _opened(content: bytes) -> Pillow.Image:
    """Open an image without reading its pixels; ImportError if it is HEIF and the extra is not installed."""
    brands = _brands(content)
    if brands & HEIF_BRANDS and not brands & AVIF_BRANDS:
        pillow_heif: Any = importlib.import_module("pillow_heif")
        return pillow_heif.HeifImageFile(io.BytesIO(content))
    return Pillow.open(io.BytesIO(content), formats=[name for name in FORMATS if name != "HEIF"])


def _brands(content: bytes) -> set[bytes]:
    """Return the brands in the first box of a HEIF, AVIF or video file; none for other files."""
    if content[4:8] != b"ftyp":
        return set()
    names = content[8 : min(int.from_bytes(content[:4], "big"), 256)]
    return {names[start : start + 4] for start in range(0, len(names), 4)}


def _too_large(path: Path, pixels: int, size: str, max_megapixels: float) -> Failure:
    enough = math.ceil(pixels / 1e6) or "..."
    message = f"larger than {max_megapixels:g} megapixels: {size}; --set data.max_megapixels={enough} reads it"
    return Failure(path, "too_large", message, {"pixels": pixels})


def _no_memory(path: Path) -> Failure:
    return Failure(path, "no_memory", "there was not enough memory to read it; fewer --workers need less")


def upright(photo: Pillow.Image) -> Pillow.Image:
    """Turn an image as its EXIF orientation says."""
    photo.load()  # raises if truncated; exif_transpose alone does not if there is nothing to turn
    try:
        return ImageOps.exif_transpose(photo)
    except Exception:  # a broken EXIF block says nothing about the pixels
        return photo


def to_rgb(photo: Pillow.Image) -> Image:
    """Return an image of any mode as RGB uint8, (height, width, 3), with white behind what is transparent."""
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
