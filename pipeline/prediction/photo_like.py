"""What a Python program calls a photo: a path, the bytes of a file, a PIL image, or pixels.

In: any of these. Out: a Photo; what is not in a file is in its content.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from cache.errors import UsageError
from cache.location import with_home
from detect.decode import to_rgb, upright
from detect.faces import Image
from detect.failures import DAMAGED, Failure, first_line
from pipeline.intake.photo import Photo

PhotoLike: TypeAlias = str | Path | bytes | NDArray[np.uint8] | Pillow.Image


def photos_of(photos: object) -> Iterator[Photo]:
    """Yield the Photo for each of several; those without a path are named by their number, which begins at 1.

    Raises:
        UsageError: something is no photo; it says which, and what is expected.
    """
    several: Iterable[object] = photos if isinstance(photos, Iterable) else [photos]
    for number, photo in enumerate(several, 1):
        yield photo_of(photo, f"photo {number}")


def photo_of(photo: object, name: str = "photo") -> Photo:
    """Return the Photo for a path, a file's bytes, a PIL image, or an RGB array.

    Raises:
        UsageError: it is none of these.
    """
    if isinstance(photo, str | Path):
        return Photo(with_home(photo), str(photo), str(photo))
    if isinstance(photo, bytes):
        return _in_memory(name, photo)
    if isinstance(photo, Pillow.Image):
        try:
            return _in_memory(name, to_rgb(upright(photo)))
        except (OSError, ValueError, SyntaxError) as error:  # Pillow reads the pixels only now, and they may be damaged
            return _in_memory(name, Failure(Path(name), "unreadable", f"{DAMAGED}{first_line(error)}"))
    found = type(photo).__name__
    if isinstance(photo, np.ndarray):
        if photo.dtype == np.uint8 and photo.ndim == 3 and photo.shape[2] == 3:
            return _in_memory(name, np.ascontiguousarray(photo))
        found = f"{photo.dtype} of shape {photo.shape}"
    raise UsageError(
        f"{name} is {found}; a photo is a path, the bytes of a file, a PIL image, or an RGB uint8 array of shape "
        "(height, width, 3)"
    )


def _in_memory(name: str, content: bytes | Image | Failure) -> Photo:
    return Photo(Path(name), name, name, content=content)
