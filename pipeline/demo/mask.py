"""Masks on drawn faces: five fabrics worn right, and the wrong ways to wear one."""

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.demo.strokes import Colour, Point, Region, Strokes, curve, dim

COLOURS: dict[str, Colour] = {
    "kf": (240.0, 240.0, 238.0),
    "surgical": (158.0, 198.0, 226.0),
    "thin": (216.0, 228.0, 218.0),
    "pink": (234.0, 186.0, 200.0),
}
DARK: tuple[Colour, ...] = ((78.0, 78.0, 84.0), (122.0, 126.0, 134.0), (84.0, 100.0, 140.0), (136.0, 80.0, 84.0))
FABRIC_OF_STEM = {"mask1": "kf", "mask2": "surgical", "mask3": "thin", "mask4": "pink", "mask5": "dark"}


def put_mask(strokes: Strokes, stem: str, scarf: bool, rng: np.random.Generator) -> None:
    """Draw the mask of the photo `stem` on the face: nothing for "normal", and a scarf for mask5 if `scarf`."""
    if stem == "normal":
        return
    fabric = FABRIC_OF_STEM.get(stem) or str(rng.choice(list(FABRIC_OF_STEM.values())))
    if stem == "incorrect_mask":
        # Below the nose, or below the mouth.
        top = float(rng.normal(0.47, 0.025)) if rng.random() < 0.55 else float(rng.normal(0.79, 0.025))
    else:
        top = float(rng.normal(0.16, 0.03))
    if scarf and stem == "mask5":
        _scarf(strokes, top, rng)
    else:
        _mask(strokes, fabric, top, rng)


def _mask(strokes: Strokes, fabric: str, top: float, rng: np.random.Generator) -> None:
    """Draw a mask whose upper edge is at height `top`: its strings, then its cloth, then its creases."""
    colour = COLOURS.get(fabric) or DARK[rng.integers(len(DARK))]
    side, low = float(rng.normal(0.8, 0.02)), float(rng.normal(1.1, 0.03)) + max(top - 0.6, 0) * 0.4
    beak = 0.12 if fabric == "kf" else 0.05
    half: list[Point] = [(0.0, top - beak), (0.3, top), (side, top + 0.16), (side * 0.97, (top + low) / 2)]
    half += [(0.52, low - 0.1), (0.22, low), (0.0, low + 0.02)]
    outline = curve([*half, *((-x, y) for x, y in reversed(half[1:-1]))], 6)
    for sign in (-1, 1):  # the strings to the ears
        for y in (top + 0.2, low - 0.16):
            strokes.line([(sign * side * 0.95, y), (sign * 0.9, -0.02)], dim(colour, 0.9), 0.018, 0.85)
    cover = strokes.alpha(outline, 1.0)
    strokes.blend(cover, _cloth(strokes, cover, colour, fabric, rng))
    crease = dim(colour, 0.8)
    if fabric == "kf":
        strokes.line([(0.0, top - beak + 0.03), (0.0, low - 0.02)], crease, 0.016, 0.7)
        strokes.line([(-side * 0.85, top + 0.22), (0.0, top + 0.32), (side * 0.85, top + 0.22)], crease, 0.014, 0.5)
    elif fabric != "dark":
        for share in (0.3, 0.5, 0.7):
            y = top + share * (low - top)
            strokes.line([(-side * 0.9, y), (0.0, y + 0.03), (side * 0.9, y)], crease, 0.014, 0.6)
    strokes.line([(-0.28, top + 0.02), (0.0, top - beak + 0.02), (0.28, top + 0.02)], dim(colour, 0.75), 0.016, 0.6)


def _scarf(strokes: Strokes, top: float, rng: np.random.Generator) -> None:
    """Draw a scarf whose upper edge is at height `top`."""
    colour = DARK[rng.integers(len(DARK))]
    edge: list[Point] = [(-0.9, top + 0.1), (0.0, top - 0.06), (0.9, top + 0.1)]
    edge += [(0.86, 0.9), (0.3, 1.7), (0.0, 1.85), (-0.3, 1.7), (-0.86, 0.9)]
    cover = strokes.alpha(curve(edge), 1.2)
    strokes.blend(cover, _cloth(strokes, cover, colour, "scarf", rng))


def _cloth(
    strokes: Strokes, cover: Region, colour: Colour, fabric: str, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the cloth on the region, (h, w, 3): its colour, lit like the face below, and on some dots."""
    down, across = np.mgrid[cover[1]].astype(np.float32)
    u = (across - strokes.face.centre[0]) / (0.85 * strokes.face.size)
    v = (down - strokes.face.centre[1]) / strokes.face.size
    light = 1.0 - 0.34 * np.clip(u, -1.2, 1.2) ** 2 - 0.2 * np.clip(v - 0.6, 0, 1)
    # Nose and mouth show through: a ridge of light, with shade on both sides of it and below.
    nose = np.clip(0.55 - v, 0, 0.4) / 0.4
    light += 0.2 * np.exp(-((u / 0.12) ** 2)) * nose - 0.15 * np.exp(-(((np.abs(u) - 0.3) / 0.14) ** 2)) * nose
    light -= 0.22 * np.exp(-(((v - 0.47) / 0.07) ** 2)) * np.exp(-((u / 0.3) ** 2))
    light -= 0.16 * np.exp(-(((v - 0.68) / 0.07) ** 2)) * np.exp(-((u / 0.4) ** 2))
    cloth = np.broadcast_to(np.asarray(colour, np.float32), (*u.shape, 3)).copy()
    if fabric == "scarf" or (fabric == "dark" and rng.random() < 0.35):
        for _ in range(45):
            x, y = int(rng.integers(0, max(u.shape[1], 1))), int(rng.integers(0, max(u.shape[0], 1)))
            cv2.circle(cloth, (x, y), int(rng.integers(2, 4)), (188, 188, 188), -1, cv2.LINE_AA)
    return np.asarray(cloth * light[..., None], dtype=np.float32)
