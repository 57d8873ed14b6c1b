"""Strokes in face coordinates.

In: points (x, y), with the eyes near y = -0.1, the chin near y = 1 and the cheeks near x = +-0.86. Out: soft-edged
paint on a photo.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]
Point = tuple[float, float]
Region = tuple[NDArray[np.float32], tuple[slice, slice]]  # (h, w) coverage in [0, 1], and its rows and columns
SUBPIXEL = 4  # fractional bits of a pixel position in OpenCV's drawing


@dataclass(frozen=True, slots=True)
class Face:
    """Where a face is in its photo.

    Attributes:
        centre: pixel (x, y) of the face's (0, 0).
        size: pixels of one unit.
        tilt: rotation, in degrees clockwise.
        width: factor of x.
        turn: moves points near the middle sideways, as a turned head does.
    """

    centre: Point
    size: float
    tilt: float
    width: float
    turn: float

    def pixels(self, points: Sequence[Point]) -> NDArray[np.float32]:
        """Convert face coordinates (n, 2) to pixels (n, 2) of the photo, (x, y)."""
        placed = np.asarray(points, dtype=np.float32) * (self.width, 1.0)
        placed[:, 0] += self.turn * np.clip(1 - placed[:, 0] ** 2, 0, 1)
        angle = np.deg2rad(self.tilt)
        turned = placed @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
        return np.asarray(turned * self.size + self.centre, dtype=np.float32)


def curve(points: Sequence[Point], steps: int = 8) -> list[Point]:
    """Return a closed smooth curve through `points` (Catmull-Rom), `steps` points for each."""
    p1 = np.asarray(points, dtype=np.float64)
    p0, p2, p3 = np.roll(p1, 1, axis=0), np.roll(p1, -1, axis=0), np.roll(p1, -2, axis=0)
    t = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
    drawn = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    return [(float(x), float(y)) for x, y in drawn.transpose(1, 0, 2).reshape(-1, 2)]


def dim(colour: Colour, factor: float) -> Colour:
    """Multiply the colour by `factor`."""
    red, green, blue = colour
    return red * factor, green * factor, blue * factor


class Strokes:
    """A photo that is being painted on.

    Attributes:
        image: (H, W, 3) float32 RGB in [0, 255]; strokes change it in place.
        face: the coordinates of all strokes.
    """

    def __init__(self, image: NDArray[np.float32], face: Face) -> None:
        self.image = image
        self.face = face

    def fill(self, points: Sequence[Point], colour: Colour, strength: float = 1.0, *, soft: float = 1.0) -> None:
        """Fill a polygon; `soft` is the blur of its edge in pixels."""
        self.blend(self.alpha(points, soft), np.asarray(colour, np.float32), strength)

    def alpha(self, points: Sequence[Point], soft: float = 1.0, *, thick: int = 0) -> Region:
        """Return the coverage of a polygon or, if `thick`, of a line that many pixels wide, with a blurred edge."""
        placed = self.face.pixels(points)
        reach = int(3 * soft) + thick + 2  # no pixel further away from the points is painted on
        size = self.image.shape[1::-1]
        x1, y1 = np.clip(np.floor(placed.min(axis=0)).astype(int) - reach, 0, size)
        x2, y2 = np.clip(np.ceil(placed.max(axis=0)).astype(int) + reach, 0, size)
        cover = np.zeros((max(y2 - y1, 0), max(x2 - x1, 0)), np.float32)
        if cover.size:
            pixels = np.round((placed - (x1, y1)) * 2**SUBPIXEL).astype(np.int32)
            if thick:
                cv2.polylines(cover, [pixels], False, 1.0, thick, cv2.LINE_AA, SUBPIXEL)
            else:
                cv2.fillPoly(cover, [pixels], 1.0, cv2.LINE_AA, SUBPIXEL)
            cover = np.asarray(cv2.GaussianBlur(cover, (0, 0), soft), np.float32)
        return cover, (slice(int(y1), int(y2)), slice(int(x1), int(x2)))

    def line(self, points: Sequence[Point], colour: Colour, width: float, strength: float = 1.0) -> None:
        """Draw a stroke through points; `width` in face units."""
        if strength > 0:
            region = self.alpha(points, 0.7, thick=max(round(width * self.face.size), 1))
            self.blend(region, np.asarray(colour, np.float32), strength)

    def blob(self, centre: Point, radii: Point, colour: Colour, strength: float, *, edge: float = 1.6) -> None:
        """Paint an ellipse that fades out; `edge` is the width of the fade as a share of its radius."""
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        around = [(centre[0] + radii[0] * float(np.cos(a)), centre[1] + radii[1] * float(np.sin(a))) for a in angles]
        soft = max(edge * min(radii) * self.face.size * 0.5, 0.6)
        self.fill(around, colour, strength, soft=soft)

    def shade(self, outline: Sequence[Point]) -> None:
        """Darken a head towards its sides, top and jaw, as if it were round and lit from the front."""
        cover, (rows, columns) = self.alpha(outline, 2.0)
        x0, y0 = self.face.centre
        down, across = np.mgrid[rows, columns].astype(np.float32)
        u, v = (across - x0) / (0.9 * self.face.size * self.face.width), (down - y0) / (1.15 * self.face.size)
        light = 1.05 - 0.34 * np.clip(u, -1.2, 1.2) ** 4 - 0.12 * u**2 - 0.16 * np.clip(v, -1, 1.2) ** 4
        part = self.image[rows, columns]
        self.image[rows, columns] = part * (1 + cover[..., None] * (light[..., None] - 1))

    def blend(self, region: Region, colour: NDArray[np.float32], strength: float = 1.0) -> None:
        """Lay a colour (3,), or a picture (h, w, 3) of the region, over the region."""
        cover, pixels = region
        if cover.size:
            share = (cover * strength)[..., None]
            self.image[pixels] = self.image[pixels] * (1 - share) + colour * share
