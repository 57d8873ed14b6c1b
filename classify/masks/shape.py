"""Where a mask lies on a head: from five landmarks to an outline that turns with it.

In: landmarks (5, 2) in pixels of the photo, (x, y). Out: a Head (a cylinder with a yaw) and an Outline on it.

Head coordinates are (x, v). Width x: in distances between the eyes, as seen from the front; 0 at the head's axis.
Height v: 0 at the eyes, 1 at the corners of the mouth, about 1.65 at the chin.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Range = tuple[float, float]

RADIUS = 0.92  # of the head at the cheeks
EYE_ANGLE = math.asin(0.5 / RADIUS)
NOSE_REACH = 0.4  # sideways movement of the nose's tip, as a width, per unit of the yaw's tangent
PROFILE_NOSE = 0.75  # a face is a profile if the nose's tip is further than this from the middle of the eyes
STEPS = 25  # of an outline, from side to side


@dataclass(frozen=True, slots=True)
class Head:
    """A head as an upright cylinder."""

    centre: Floats  # (2,) pixel (x, y) of its axis at the height of the eyes
    across: Floats  # across, down: (2,) pixels (x, y) of one unit of width to the right, and of one unit of height
    down: Floats
    yaw: float  # rotation towards the right of the image, in radians
    nose: float  # height of the nose's tip

    @property
    def size(self) -> float:
        """Distance between the eyes in pixels, if the head faced the camera."""
        return float(np.hypot(*self.across))

    def pixels(self, x: Floats, v: Floats) -> Floats:
        """Convert widths and heights, (n,) each, to pixels (n, 2) of the photo, (x, y)."""
        return np.asarray(self.centre + x[:, None] * self.across + v[:, None] * self.down, np.float32)

    def widths_and_heights(self, left: int, top: int, width: int, height: int) -> tuple[Floats, Floats]:
        """Return the x and v of each pixel of a rectangle, (height, width) each: the inverse of `pixels`."""
        inverse = np.linalg.inv(np.stack([self.across, self.down], axis=1).astype(np.float64))
        column = np.arange(left, left + width, dtype=np.float64) - self.centre[0]
        row = (np.arange(top, top + height, dtype=np.float64) - self.centre[1])[:, None]
        x, v = (inverse[i, 0] * column + inverse[i, 1] * row for i in (0, 1))
        return x.astype(np.float32), v.astype(np.float32)

    def width_at(self, angle: Floats) -> Floats:
        """Return the width (n,) of each angle (n,) from the middle of the face; hidden ones are at the rim."""
        return np.asarray(RADIUS * np.sin(np.clip(angle + self.yaw, -math.pi / 2, math.pi / 2)), np.float32)


@dataclass(frozen=True, slots=True)
class Outline:
    """The edge of a mask on a head, in n steps from its left side (s = -1) to its right (s = 1)."""

    x: Floats  # (n,) rising widths of the steps
    top: Floats  # top, bottom: (n,) heights of the upper and lower edge
    bottom: Floats
    angles: tuple[float, float]  # of the left and right side around the head, in radians
    flare: float  # how much wider it gets per unit of height below 0.9; negative if it narrows towards the chin

    def polygon(self) -> tuple[Floats, Floats]:
        """Return widths and heights of the closed edge, (2 * n + 10,) each."""
        side = np.linspace(0, 1, 7)[1:-1]
        right, left = (self.top[i] + side * (self.bottom[i] - self.top[i]) for i in (-1, 0))
        x = np.concatenate([self.x, np.full(5, self.x[-1]), self.x[::-1], np.full(5, self.x[0])])
        v = np.concatenate([self.top, right, self.bottom[::-1], left[::-1]])
        return np.asarray(x * self._stretch(v), np.float32), np.asarray(v, np.float32)

    def on_cloth(self, x: Floats, v: Floats) -> tuple[Floats, Floats]:
        """Convert x and v to s, -1 at the left to 1 at the right edge, and t, 0 at the upper to 1 at the lower edge."""
        step = np.interp(x / self._stretch(v), self.x, np.arange(len(self.x))).astype(np.float32)
        below = step.astype(np.intp)
        above, part = np.minimum(below + 1, len(self.x) - 1), step - below
        top = self.top[below] * (1 - part) + self.top[above] * part
        bottom = self.bottom[below] * (1 - part) + self.bottom[above] * part
        s = step * (2 / (len(self.x) - 1)) - 1
        return np.asarray(s, np.float32), np.asarray((v - top) / (bottom - top), np.float32)

    def _stretch(self, v: Floats) -> Floats:
        """Return the factor of the widths at heights `v`, by `flare`."""
        return np.asarray(1 + self.flare * np.clip(v - 0.9, 0, 1.2), np.float32)


class Cut(NamedTuple):
    """The ranges from which a fabric's outlines are drawn."""

    reach: Range  # degrees around the head from the middle to a side
    bump: Range  # height by which the nose lifts the upper edge
    side_top: Range  # side_top, side_bottom: heights of the upper and lower edge at the sides
    side_bottom: Range
    chin: Range  # height of the middle of the lower edge
    corner: Range  # how pointed the sides are: 0 keeps the corners apart, 1 makes them meet
    belly: Range  # how far towards the sides the lower edge stays down; an exponent
    bulge: Range  # how far the middle stands off the face, as a share of the width
    flare: Range  # as in `Outline`


SURGICAL = Cut(
    (58, 74), (0.03, 0.11), (0.42, 0.68), (1.12, 1.38), (1.55, 1.8), (0, 0.2), (1.8, 3.2), (0.02, 0.1), (-0.15, 0)
)
BEAK = Cut(
    (58, 74), (0.05, 0.14), (0.55, 0.78), (1, 1.22), (1.58, 1.85), (0.2, 0.65), (1.5, 2.4), (0.1, 0.24), (-0.2, 0)
)
CUP = Cut((48, 62), (0.08, 0.2), (0.7, 0.95), (1.1, 1.3), (1.5, 1.75), (0.5, 0.9), (1.6, 2.4), (0.12, 0.24), (-0.1, 0))
SEWN = Cut((58, 84), (0.04, 0.18), (0.36, 0.68), (0.95, 1.3), (1.52, 1.85), (0, 0.6), (1.5, 3), (0.05, 0.18), (-0.2, 0))
BANDANA = Cut((72, 90), (0, 0.12), (0.25, 0.6), (0.8, 1.3), (1.9, 3), (0, 0.1), (0.9, 1.5), (0.05, 0.15), (-0.05, 0.1))
SCARF = Cut((80, 90), (0, 0.12), (0.3, 0.75), (2.6, 4.5), (3, 5), (0, 0.05), (2, 3), (0.03, 0.12), (0, 0.45))
CUTS: dict[str, tuple[Cut, ...]] = {
    "kf94": (BEAK, BEAK, CUP),
    "surgical": (SURGICAL,),
    "thin": (SURGICAL,),
    "cloth": (SEWN, SEWN, BEAK),
    "patterned": (SEWN, SEWN, BEAK),
    "scarf": (SCARF, SCARF, BANDANA),
}


def can_wear(landmarks: NDArray[np.floating], shape: tuple[int, ...]) -> bool:
    """Whether a mask can be drawn at these landmarks.

    Args:
        landmarks: (5, 2) pixels (x, y): left eye, right eye, nose, left and right corner of the mouth.
        shape: of the image, height first.

    Returns:
        False if they are not finite or far outside the image, the eyes coincide, the mouth is not below the eyes, or
        the face is a profile.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        return False
    height, width = shape[:2]
    if (np.abs(points) > 4 * max(height, width)).any():
        return False
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    if not (-0.2 * width <= mouth[0] <= 1.2 * width and -0.2 * height <= mouth[1] <= 1.1 * height):
        return False
    eye_distance = math.dist(points[0], points[1])
    if eye_distance < 3 or mouth[1] <= eyes[1]:
        return False
    right = (points[1] - points[0]) / eye_distance
    down = np.array([-right[1], right[0]])
    reach = abs(float((mouth - eyes) @ down))
    nose = points[2] - eyes
    return (
        0.5 * eye_distance < reach < 3 * eye_distance
        and abs(float(nose @ right)) < PROFILE_NOSE * eye_distance
        and abs(float((mouth - eyes) @ right)) < 0.8 * eye_distance
        and 0.15 < float(nose @ down) / float((mouth - eyes) @ down) < 0.9
    )


def head_of(landmarks: NDArray[np.floating]) -> Head:
    """Estimate the head from landmarks (5, 2) for which `can_wear` is true."""
    points = np.asarray(landmarks, np.float64)
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    eye_distance = math.dist(points[0], points[1])
    right = (points[1] - points[0]) / eye_distance
    down = np.array([-right[1], right[0]])
    reach = float((mouth - eyes) @ down)  # negative if left and right are exchanged
    nose = points[2] - eyes
    yaw = math.atan(0.85 * float(nose @ right) / eye_distance / NOSE_REACH)
    across = right * eye_distance / math.cos(yaw)
    centre = eyes - across * RADIUS * math.cos(EYE_ANGLE) * math.sin(yaw)
    down = down * reach
    return Head(
        centre.astype(np.float32),
        across.astype(np.float32),
        down.astype(np.float32),
        yaw,
        float(nose @ down) / reach**2,
    )


def outline_of(head: Head, fabric: str, wearing: str, rng: np.random.Generator) -> Outline:
    """Draw the outline of a mask of this fabric, worn like this; see `synthesis.FABRICS` and `WEARINGS`."""
    cut = CUTS[fabric][int(rng.integers(len(CUTS[fabric])))]
    reach, bump, side_top, side_bottom, chin, corner, belly, bulge, flare = (float(rng.uniform(*span)) for span in cut)
    is_scarf = fabric == "scarf"
    hollow = 2.0  # exponent of the upper edge between its middle and its sides
    if wearing == "right":
        middle = head.nose * float(rng.uniform(0.4, 0.8)) + bump * 0.5
    elif wearing == "nose_out":
        # The nostrils are just below the tip, and the upper lip begins at 0.92.
        margin = max(0.1, 3.5 / float(np.hypot(*head.down)))
        middle = min(head.nose + margin + (0.92 - head.nose) * float(rng.uniform(0.05, 0.6)), 0.95)
        side_top, bump = middle + float(rng.uniform(-0.3, 0.12)), bump * 0.2
        side_bottom, chin = max(side_bottom, side_top + 0.3), chin + float(rng.uniform(0, 0.2))
    else:
        middle = float(rng.uniform(1.27, 1.5))
        side_top, bump, hollow = middle - float(rng.uniform(0, 0.35)), 0.0, 3.0
        side_bottom = side_bottom if is_scarf else side_top + float(rng.uniform(0.2, 0.5))
        chin = chin if is_scarf else middle + float(rng.uniform(0.3, 0.7))
        reach, flare = reach if is_scarf else reach * float(rng.uniform(0.72, 0.95)), max(flare, 0.0)
    s = np.linspace(-1, 1, STEPS)
    top = middle + (side_top - middle) * np.abs(s) ** hollow - bump * np.exp(-((s / 0.2) ** 2))
    bottom = chin - (chin - side_bottom) * np.abs(s) ** belly
    slant, shift = float(rng.normal(0, 0.03)), math.radians(float(rng.normal(0, 3)))
    top, bottom = top + slant * s, bottom + slant * s + float(rng.normal(0, 0.03)) * s
    # Round the corners by drawing the edges together towards the sides.
    closing = corner * np.abs(s) ** 6 + 0.15 * np.abs(s) ** 24
    gap = np.maximum(bottom - top, 0.12)
    top, bottom = top + closing * gap * 0.5, top + gap * (1 - closing * 0.5)
    angles = np.radians(reach) * s + shift
    stands_off = 1 + bulge * np.cos(s * math.pi / 2) ** 2
    if is_scarf:  # it lies on hair and collar as well
        stands_off = stands_off + float(rng.uniform(0.05, 0.3))
    x = np.maximum.accumulate(head.width_at(angles.astype(np.float32)) * stands_off)
    x = x + np.linspace(0, 1e-3, STEPS)  # rising, even where a turned head hides its far side
    ends = (float(angles[0]), float(angles[-1]))
    return Outline(x.astype(np.float32), top.astype(np.float32), bottom.astype(np.float32), ends, flare)
