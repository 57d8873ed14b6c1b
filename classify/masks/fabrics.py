"""What masks are made of, laid out flat.

In: a fabric's name. Out: a Cloth, a picture (h, w, 3) of the flat mask with its colours, print, pleats, seams and folds
in even light.

Reliefs are functions of the position on the mask: s from -1 (left edge) to 1 (right), t from 0 (top) to 1 (bottom).
They return the brightness there, about 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from classify.masks.prints import Floats, print_on

Colour = tuple[float, float, float]

COLOURS: dict[str, Colour] = {
    "white": (238, 238, 235), "light blue": (150, 196, 226), "sky": (108, 170, 212), "mint": (150, 208, 186),
    "green": (70, 170, 140), "pink": (238, 186, 200), "lilac": (204, 190, 222), "black": (30, 30, 34),
    "charcoal": (66, 66, 72), "grey": (136, 138, 142), "beige": (208, 188, 162), "navy": (36, 46, 86),
    "wine": (112, 32, 48), "khaki": (112, 108, 78), "red": (186, 40, 46), "yellow": (226, 192, 62),
    "teal": (30, 120, 130), "brown": (104, 76, 56), "blue": (40, 86, 178), "violet": (110, 70, 150),
}  # fmt: skip
SHARES: dict[str, dict[str, float]] = {
    "kf94": {"white": 60, "black": 18, "grey": 7, "beige": 6, "pink": 4, "navy": 3, "light blue": 2},
    "surgical": {
        "light blue": 34, "white": 22, "sky": 8, "mint": 11, "green": 4, "pink": 10, "black": 8, "lilac": 3,
    },
    "thin": {"white": 48, "light blue": 18, "mint": 12, "pink": 14, "black": 8},
    "cloth": {
        "black": 34, "charcoal": 9, "grey": 12, "white": 10, "navy": 8, "beige": 7, "pink": 5, "red": 3, "blue": 3,
        "khaki": 3, "wine": 2, "teal": 2, "yellow": 1, "brown": 1,
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cloth:
    """A mask laid flat."""

    picture: Floats  # (h, w, 3) float32 RGB, 0 to 255
    opacity: float  # 1 hides the face; less lets the mouth's shadow through
    colour: Floats  # RGB of the fabric without its print
    strings: Floats  # RGB of the ear loops


def cloth_of(fabric: str, height: int, width: int, rng: np.random.Generator) -> Cloth:
    """Draw a mask of `fabric`, (height, width) pixels large: about the size at which it will be seen."""
    colour = colour_for(fabric, rng)
    s, t = np.meshgrid(
        np.linspace(-1, 1, width, dtype=np.float32), np.linspace(0, 1, height, dtype=np.float32), copy=False
    )
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = colour
    if fabric == "patterned" or (fabric == "scarf" and rng.random() < 0.6):
        print_on(picture, np.stack([colour_for("patterned", rng) for _ in range(4)]), rng)
    relief = RELIEFS[fabric](s, t, rng)
    # The folds of dark cloth show by what they reflect, more than by their colour.
    picture = picture * relief[..., None] + 26 * (relief[..., None] - 1)
    opacity = 1.0
    if fabric == "thin":
        opacity = float(rng.uniform(0.72, 0.93))
    elif fabric == "surgical":
        opacity = float(rng.uniform(0.93, 1))
    if fabric in {"kf94", "surgical", "cloth"} and rng.random() < 0.25:
        _mark(picture, fabric, rng)
    return Cloth(np.asarray(picture, np.float32), opacity, colour, _string_colour(colour, rng))


def colour_for(fabric: str, rng: np.random.Generator) -> Floats:
    """Draw a colour that this fabric is sold in, with the slight variation of dye lots: (3,) RGB."""
    shares = SHARES.get(fabric)
    if shares is None:
        name = list(COLOURS)[int(rng.integers(len(COLOURS)))]
    else:
        weights = np.fromiter(shares.values(), np.float64)
        name = list(shares)[int(rng.choice(len(weights), p=weights / weights.sum()))]
    colour = np.asarray(COLOURS[name]) + rng.normal(0, 7) + rng.normal(0, 6, 3)
    return np.clip(colour, 8, 250).astype(np.float32)


def _smooth_noise(like: Floats, rows: int, columns: int, rng: np.random.Generator) -> Floats:
    """Return about normal values, shaped as `like` (h, w), that vary over `rows` and `columns` waves."""
    coarse = rng.normal(0, 1, (rows + 1, columns + 1)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, like.shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def _pleated(s: Floats, t: Floats, rng: np.random.Generator) -> Floats:
    """Relief of a mask with horizontal pleats, a nose wire and a hem."""
    pleats, depth = int(rng.integers(2, 5)), float(rng.uniform(0.08, 0.3))
    # Pleats sag in the middle and are sewn together at the sides.
    position = (t - 0.12 + float(rng.uniform(-0.08, 0.1)) * (1 - s**2)) / 0.76 * pleats
    below = position - np.floor(position)
    inside = (position > 0) & (position < pleats)
    shade = 1 - inside * (depth * np.exp(-below / 0.13) - 0.05 * below)
    wire = np.exp(-(((t - 0.06) / 0.03) ** 2)) * (np.abs(s) < 0.45)
    hem = (np.abs(s) > 0.93) | (t > 0.955)
    return np.asarray(shade + 0.05 * wire - 0.05 * hem, np.float32) * _creased(s, t, rng)


def _panelled(s: Floats, t: Floats, rng: np.random.Generator) -> Floats:
    """Relief of a stiff mask, in one of three cuts."""
    cut = rng.random()
    if cut < 0.55:  # three panels, with a beak between the upper two
        upper = float(rng.uniform(0.26, 0.42)) + float(rng.uniform(-0.05, 0.18)) * s**2
        lower = float(rng.uniform(0.62, 0.8)) - float(rng.uniform(0, 0.25)) * s**2
        shade = 1 + 0.05 * (t < upper) - float(rng.uniform(0.06, 0.2)) * (t > lower)
        for fold in (upper, lower):
            shade = shade - float(rng.uniform(0.05, 0.16)) * np.exp(-(((t - fold) / 0.018) ** 2))
        edge = 0.92 - 0.06 * np.cos(t * 6)
        shade = shade - 0.1 * np.exp(-(((np.abs(s) - edge) / 0.02) ** 2))
    elif cut < 0.8:  # two halves, folded down the middle
        side = float(rng.choice([-1, 1])) * float(rng.uniform(0.02, 0.08))
        fold = 0.06 * np.sin(t * float(rng.uniform(1, 4)))
        shade = (
            1 + side * np.tanh((s - fold) / 0.08) - float(rng.uniform(0.05, 0.18)) * np.exp(-(((s - fold) / 0.02) ** 2))
        )
    else:  # a moulded cup
        shade = 1.04 - 0.25 * ((s / 0.9) ** 2 + ((t - 0.42) / 0.55) ** 2) ** 1.5 * 0.6
        shade = shade - 0.08 * (np.abs(np.hypot(s * 0.9, (t - 0.5) * 1.9) - 0.85) < 0.04)
    return np.asarray(shade, np.float32) * _creased(s, t, rng)


def _sewn(s: Floats, t: Floats, rng: np.random.Generator) -> Floats:
    """Relief of a cloth mask, some with a seam down the middle or a hem."""
    shade = np.ones_like(s)
    if rng.random() < 0.5:
        seam = 0.05 * np.sin(t * 3)
        shade -= float(rng.uniform(0.05, 0.2)) * np.exp(-(((s - seam) / 0.02) ** 2))
    if rng.random() < 0.4:
        edge = np.minimum(np.minimum(t, 1 - t), (1 - np.abs(s)) * 1.2)
        shade += float(rng.choice([-1, 1])) * 0.1 * (edge < 0.05)
    return np.asarray(shade, np.float32) * _creased(s, t, rng)


def _wrapped(s: Floats, t: Floats, rng: np.random.Generator) -> Floats:
    """Relief of a scarf: deep folds, mostly across."""
    rows, columns = (int(rng.integers(4, 10)), 2) if rng.random() < 0.7 else (3, int(rng.integers(4, 8)))
    folds = _smooth_noise(s, rows, columns, rng)
    # A fold's upper side is lit, its lower side is not.
    lit = np.gradient(folds, axis=0) * s.shape[0] / (2.5 * rows)
    return np.clip(1 - float(rng.uniform(0.14, 0.4)) * lit + 0.08 * folds, 0.4, 1.4).astype(np.float32)


def _creased(s: Floats, t: Floats, rng: np.random.Generator) -> Floats:
    """Relief of any mask on a face: rounded from side to side, in the shade below, creased by wearing."""
    rounded = (
        1.03 - float(rng.uniform(0.05, 0.22)) * s**2 - float(rng.uniform(0.02, 0.2)) * np.clip(t - 0.35, 0, 1) ** 2
    )
    creases = _smooth_noise(s, int(rng.integers(3, 8)), int(rng.integers(3, 8)), rng)
    return np.asarray(rounded + float(rng.uniform(0.015, 0.07)) * creases, np.float32)


RELIEFS: dict[str, Callable[[Floats, Floats, np.random.Generator], Floats]] = {
    "kf94": _panelled,
    "surgical": _pleated,
    "thin": _pleated,
    "cloth": _sewn,
    "patterned": _sewn,
    "scarf": _wrapped,
}


def _mark(picture: Floats, fabric: str, rng: np.random.Generator) -> None:
    """Draw a valve, a stamped line of letters, or a band along the edge on `picture`, in place."""
    height, width = picture.shape[:2]
    ink = colour_for("patterned", rng)
    if fabric == "surgical" or rng.random() < 0.4:
        y, x = int(height * rng.uniform(0.3, 0.8)), width * float(rng.uniform(0.15, 0.6))
        for _ in range(int(rng.integers(3, 9))):
            length = float(rng.uniform(0.01, 0.04)) * width
            cv2.line(picture, (int(x), y), (int(x + length), y), ink.tolist(), max(height // 40, 1), cv2.LINE_AA)
            x += length * 1.7
    elif rng.random() < 0.5:
        centre = (int(width * rng.uniform(0.22, 0.78)), int(height * rng.uniform(0.45, 0.7)))
        radius = max(int(width * rng.uniform(0.05, 0.09)), 1)
        shade = picture[min(centre[1], height - 1), centre[0]] * float(rng.uniform(0.6, 1.1))
        cv2.circle(picture, centre, radius, (shade * 0.75).tolist(), -1, cv2.LINE_AA)
        cv2.circle(picture, centre, max(int(radius * 0.75), 1), shade.tolist(), -1, cv2.LINE_AA)
    else:
        band = max(int(width * rng.uniform(0.02, 0.06)), 1)
        picture[:, :band] = picture[:, -band:] = ink
        if rng.random() < 0.5:
            picture[:band] = ink


def _string_colour(colour: Floats, rng: np.random.Generator) -> Floats:
    """Draw the colour of ear loops: the fabric's, white or black."""
    draw = rng.random()
    if draw < 0.5:
        return np.asarray(colour * 0.95, np.float32)
    return np.asarray(COLOURS["white" if draw < 0.85 else "black"], np.float32)
