"""Prints on cloth.

In: a picture (h, w, 3) of plain cloth and a few colours. Out: the same picture with dots, stripes, checks or flowers.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def print_on(picture: Floats, colours: Floats, rng: np.random.Generator) -> None:
    """Print one of the patterns on `picture`, in place.

    Args:
        picture: (h, w, 3) float32 RGB, 0 to 255.
        colours: (n, 3) RGB inks, n >= 2.
        rng: draws the pattern, its scale and its positions.
    """
    PRINTS[int(rng.integers(len(PRINTS)))](picture, colours, rng)


def _dots(picture: Floats, colours: Floats, rng: np.random.Generator) -> None:
    """Dots in staggered rows, on some cloths shaken out of line."""
    width = picture.shape[1]
    step = max(width * float(rng.uniform(0.06, 0.2)), 3.0)
    radius = max(step * float(rng.uniform(0.15, 0.38)), 1.0)
    shake = step * 0.4 * (rng.random() < 0.3)
    for i, y in enumerate(np.arange(0, picture.shape[0] + step, step)):
        for x in np.arange(0, width + step, step) + (i % 2) * step / 2:
            dx, dy = rng.uniform(-shake, shake, 2) if shake else (0.0, 0.0)
            _disc(picture, x + dx, y + dy, radius, colours[0])


def _stripes(picture: Floats, colours: Floats, rng: np.random.Generator) -> None:
    wave = _waves(picture, float(rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])), rng)
    picture += _step(wave - float(rng.uniform(-0.5, 0.7)))[..., None] * (colours[0] - picture)


def _checks(picture: Floats, colours: Floats, rng: np.random.Generator) -> None:
    """Two crossing sets of stripes, upright or on the diagonal."""
    turn = float(rng.choice([0, 0, np.pi / 4]))
    strength = float(rng.uniform(0.4, 0.8))
    edge = float(rng.uniform(-0.2, 0.75))
    for i in (0, 1):
        lines = _step(_waves(picture, turn + i * np.pi / 2, rng) - edge)[..., None]
        picture += strength * lines * (colours[i * int(rng.integers(2))] - picture)


def _flowers(picture: Floats, colours: Floats, rng: np.random.Generator) -> None:
    height, width = picture.shape[:2]
    for _ in range(int(rng.integers(6, 26))):
        x, y, size = rng.uniform(0, width), rng.uniform(0, height), width * rng.uniform(0.02, 0.06)
        petals, turn = int(rng.integers(4, 7)), rng.uniform(0, 6)
        ink = colours[int(rng.integers(len(colours)))]
        for angle in np.arange(petals) * 2 * np.pi / petals + turn:
            _disc(picture, x + size * np.cos(angle), y + size * np.sin(angle), size * 0.6, ink)
        _disc(picture, x, y, size * 0.5, colours[0])


def _camouflage(picture: Floats, colours: Floats, rng: np.random.Generator) -> None:
    """Large spots in two or three colours."""
    height, width = picture.shape[:2]
    for ink in colours[: int(rng.integers(2, 4))]:
        coarse = rng.normal(0, 1, (int(rng.integers(4, 9)), int(rng.integers(5, 11)))).astype(np.float32)
        spots = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
        picture += _step(spots - 0.35)[..., None] * (ink - picture)


def _dyed(picture: Floats, colours: Floats, rng: np.random.Generator) -> None:
    """A second colour that runs into the first, as on batik."""
    height, width = picture.shape[:2]
    coarse = rng.uniform(-0.3, 1.3, (int(rng.integers(2, 6)), int(rng.integers(2, 6)))).astype(np.float32)
    share = np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)
    picture += np.asarray(share, np.float32)[..., None] * (colours[0] - picture)


def _letters(picture: Floats, colours: Floats, rng: np.random.Generator) -> None:
    """One to three lines of strokes that look like letters from a distance."""
    height, width = picture.shape[:2]
    for _ in range(int(rng.integers(1, 4))):
        tall = height * float(rng.uniform(0.05, 0.22))
        x, y = width * float(rng.uniform(0.05, 0.5)), float(rng.uniform(0.1, 0.8)) * height
        end = x + width * float(rng.uniform(0.15, 0.6))
        while x < end:
            strokes = np.asarray([x, y]) + rng.uniform(0, 1, (int(rng.integers(2, 5)), 2)) * [tall * 0.7, tall]
            points = np.round(strokes * 8).astype(np.int32)
            cv2.polylines(picture, [points], False, colours[0].tolist(), max(round(tall / 7), 1), cv2.LINE_AA, 3)
            x += tall * 0.9


def _emblem(picture: Floats, colours: Floats, rng: np.random.Generator) -> None:
    """One large motif: a snout, a smile, a badge."""
    height, width = picture.shape[:2]
    x, y, size = width * rng.uniform(0.25, 0.75), height * rng.uniform(0.3, 0.7), width * float(rng.uniform(0.06, 0.2))
    turn, flat = float(rng.uniform(0, 180)), float(rng.uniform(0.3, 1))
    centre, axes = (int(x), int(y)), (int(size) + 1, int(size * flat) + 1)
    if rng.random() < 0.6:
        cv2.ellipse(picture, centre, axes, turn, 0, 360, colours[0].tolist(), -1, cv2.LINE_AA)
    thick = max(round(size / 5), 1)
    for i in range(int(rng.integers(1, 4))):
        start = float(rng.uniform(0, 360))
        sweep, share = float(rng.uniform(90, 300)), float(rng.uniform(0.3, 1.2))
        part = (int(axes[0] * share) + 1, int(axes[1] * share) + 1)
        ink = colours[(i + 1) % len(colours)].tolist()
        cv2.ellipse(picture, centre, part, turn, start, start + sweep, ink, thick, cv2.LINE_AA)


def _bandana(picture: Floats, colours: Floats, rng: np.random.Generator) -> None:
    """Small motifs all over, and rings of dots around a few drops."""
    height, width = picture.shape[:2]
    light = colours[0] * 0.2 + 190
    for x, y in rng.uniform(0, 1, (int(rng.integers(30, 90)), 2)) * [width, height]:
        _disc(picture, x, y, width * float(rng.uniform(0.004, 0.018)), light)
    for x, y in rng.uniform(0, 1, (int(rng.integers(3, 8)), 2)) * [width, height]:
        size = width * float(rng.uniform(0.05, 0.12))
        axes = (int(size) + 1, int(size / 2) + 1)
        cv2.ellipse(picture, (int(x), int(y)), axes, float(rng.uniform(0, 180)), 0, 300, light.tolist(), 1, cv2.LINE_AA)


PRINTS: tuple[Callable[[Floats, Floats, np.random.Generator], None], ...] = (
    _dots, _stripes, _checks, _flowers, _camouflage, _dyed, _letters, _emblem, _bandana,
)  # fmt: skip


def _waves(picture: Floats, turn: float, rng: np.random.Generator) -> Floats:
    """A sine (h, w) across the picture, at `turn` radians: 5 to 18 waves wide, each 4 pixels or longer."""
    height, width = picture.shape[:2]
    length = max(width / float(rng.uniform(5, 18)), 4.0)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    return np.sin((x * np.float32(np.cos(turn)) + y * np.float32(np.sin(turn))) * np.float32(2 * np.pi / length))


def _step(value: Floats) -> Floats:
    """Return 0 below zero and 1 above, with a soft edge in between."""
    return np.clip(value * 3 + 0.5, 0, 1)


def _disc(picture: Floats, x: float, y: float, radius: float, colour: Floats) -> None:
    """Fill a disc; x, y and radius in pixels of `picture`, kept to an eighth (OpenCV's shift of 3 bits)."""
    centre = (round(float(x) * 8), round(float(y) * 8))
    cv2.circle(picture, centre, max(round(float(radius) * 8), 4), colour.tolist(), -1, cv2.LINE_AA, 3)
