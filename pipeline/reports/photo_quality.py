"""Photos that are hard to learn from: near duplicates, and blurred, dark, tiny, cut-off or off-centre ones.

In: photos, read again, and the faces that the cache knows of them. Out: Findings, the worst photos of each first.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from cache.errors import CacheError, UsageError
from cache.store import CropStore
from cache.unit import OK
from detect.decode import decode_file
from detect.failures import Failure
from pipeline.intake.photo import Photo
from pipeline.reports.contact_sheets import Image
from pipeline.reports.pictures import fit

DARK = 50  # mean brightness, of 255
# Variance of the Laplacian, per mille of the variance of the brightness, so that dark photos are not taken for blurred
# ones; of the face, or of a photo without one, at MEASURED pixels.
BLURRED = 5
MEASURED = 256  # pixels, the longer side of what is measured
TINY = 64  # pixels, the height of a face
CUT_OFF = 0.05  # of a face's side that is outside the photo
OFF_CENTRE = 0.25  # of the photo's side between its centre and the face's
NEAR = 2  # bits of 64 in which the hashes of near duplicates differ at most
ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of a photo."""

    photo: Photo
    source: str
    brightness: float
    sharpness: float
    hash: int  # perceptual, 64 bits
    face: Mapping[str, Any] | None  # box, photo (width, height), as the cache has it; None if it has no face


@dataclass(frozen=True, slots=True)
class Finding:
    """Photos with one thing in common, the worst first."""

    name: str
    meaning: str
    photos: Sequence[tuple[Measured, str]]  # with what was measured, in words


def measure(
    photos: Sequence[Photo], sources: Mapping[Path, str], store: CropStore, *, max_megapixels: float, threads: int
) -> Iterator[Measured]:
    """Yield what is measured of each photo that can be read, in their order; only a few are in memory at a time.

    Raises:
        UsageError: the extra `html` is not installed.
    """
    try:
        import imagehash
    except ImportError:
        raise UsageError("--html needs an extra: pip install 'faceline[html]'") from None

    def look(photo: Photo) -> Measured | None:
        source = sources.get(photo.path)
        image = decode_file(photo.path, max_megapixels=max_megapixels) if source else None
        if source is None or image is None or isinstance(image, Failure):
            return None
        face = _face_of(store, source)
        code = int(str(imagehash.phash(Pillow.fromarray(fit(image, MEASURED, MEASURED)))), 16)
        grey = cv2.cvtColor(fit(_face_part(image, face), MEASURED, MEASURED), cv2.COLOR_RGB2GRAY)
        return Measured(photo, source, float(grey.mean()), _sharpness(grey), code, face)

    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(photos), ROWS_AT_ONCE):
            yield from (each for each in pool.map(look, photos[start : start + ROWS_AT_ONCE]) if each is not None)


def findings(measured: Sequence[Measured]) -> list[Finding]:
    """Sort photos by what is wrong with them; findings without a photo are left out."""
    found = [
        Finding(
            "Near duplicates of two people", "almost the same picture under two names", _near(measured, same=False)
        ),
        Finding("Near duplicates of one person", "almost the same picture twice", _near(measured, same=True)),
        _below("Dark", f"a mean brightness below {DARK} of 255", [(m.brightness, m) for m in measured], DARK),
        _below("Blurred", "edges are soft where the face is", [(m.sharpness, m) for m in measured], BLURRED),
        _below(
            "Tiny faces",
            f"a face of fewer than {TINY} pixels in height",
            [(m.face["box"][3] - m.face["box"][1], m) for m in measured if m.face],
            TINY,
        ),
        _above(
            "Cut-off faces",
            "a part of the face is outside",
            [(_outside(m.face), m) for m in measured if m.face],
            CUT_OFF,
        ),
        _above(
            "Off-centre faces", "far from the middle", [(_offset(m.face), m) for m in measured if m.face], OFF_CENTRE
        ),
    ]
    return [finding for finding in found if finding.photos]


def _below(name: str, meaning: str, values: Sequence[tuple[float, Measured]], limit: float) -> Finding:
    chosen = sorted((pair for pair in values if pair[0] < limit), key=lambda pair: pair[0])
    return Finding(name, meaning, [(each, f"{value:.0f}") for value, each in chosen])


def _above(name: str, meaning: str, values: Sequence[tuple[float, Measured]], limit: float) -> Finding:
    chosen = sorted((pair for pair in values if pair[0] > limit), key=lambda pair: -pair[0])
    return Finding(name, meaning, [(each, f"{value:.0%}") for value, each in chosen])


def _near(measured: Sequence[Measured], *, same: bool) -> list[tuple[Measured, str]]:
    """Photos whose hash is near that of an earlier one with other bytes, beside that one; of one person or of two."""
    codes = np.array([m.hash for m in measured], np.uint64)
    found: list[tuple[Measured, str]] = []
    for start in range(0, len(codes), ROWS_AT_ONCE):
        distances = np.bitwise_count(codes[start : start + ROWS_AT_ONCE, None] ^ codes[None, :])
        for row, column in zip(*np.nonzero(distances <= NEAR), strict=True):
            first, second = measured[int(column)], measured[start + int(row)]
            is_pair = column < start + row and first.source != second.source
            if is_pair and (first.photo.person == second.photo.person) is same:
                found += [(first, "the same as"), (second, f"differs in {distances[row, column]} of 64")]
    return found


def _face_of(store: CropStore, source: str) -> Mapping[str, Any] | None:
    try:
        entry = store.entry(source)
    except CacheError:
        return None
    if entry is None or entry.outcome != OK or entry.facts.get("found_by") in {"fallback", "whole"}:
        return None
    return entry.facts


def _face_part(image: Image, face: Mapping[str, Any] | None) -> Image:
    """The face in a photo, or the photo if there is none or none is left of it."""
    if face is None:
        return image
    x1, y1, x2, y2 = (max(round(value), 0) for value in face["box"])
    part = image[y1:y2, x1:x2]
    return part if min(part.shape[:2]) > 0 else image


def _sharpness(grey: NDArray[Any]) -> float:
    rounding = 20 / 12  # what whole numbers add to the Laplacian, 4^2 + 4 times their variance
    edges = max(float(cv2.Laplacian(grey, cv2.CV_64F).var()) - rounding, 0)
    return 1000 * edges / max(float(grey.var()), 1e-9)


def _outside(face: Mapping[str, Any]) -> float:
    """The larger share of the face's width or height that is outside the photo."""
    (x1, y1, x2, y2), (width, height) = face["box"], face["photo"]
    return max(
        (max(-x1, 0) + max(x2 - width, 0)) / max(x2 - x1, 1), (max(-y1, 0) + max(y2 - height, 0)) / max(y2 - y1, 1)
    )


def _offset(face: Mapping[str, Any]) -> float:
    """How far the face's centre is from the photo's, as a share of the photo's side."""
    (x1, y1, x2, y2), (width, height) = face["box"], face["photo"]
    return max(abs((x1 + x2) / 2 / width - 0.5), abs((y1 + y2) / 2 / height - 0.5))
