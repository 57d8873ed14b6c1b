"""Draw masks on maskless faces, for training.

In: a photo or crop, (h, w, 3) uint8 RGB, five landmarks (5, 2) in its pixels, a fabric and a wearing. Out: the same
face with that mask.

The sample keeps its other labels; its mask label becomes that of the wearing. All random draws come from the generator
that is passed in. `x` and `v`, `s` and `t` are coordinates on the head and on the mask: see `shape`.
"""

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from classify.masks.fabrics import Cloth, cloth_of
from classify.masks.light import brightness_of, exposure_of, grain_of, light_on, softness_of, tint_of
from classify.masks.shape import CUTS, Floats, Head, Outline, can_wear, head_of, outline_of
from classify.preprocessing import Image

__all__ = ["FABRICS", "WEARINGS", "can_wear", "draw_mask", "synthesise"]

FABRICS = tuple(CUTS)
WEARINGS = ("right", "nose_out", "under_chin")
SHARES = {"kf94": 0.22, "surgical": 0.26, "thin": 0.1, "cloth": 0.2, "patterned": 0.14, "scarf": 0.08}
WEARING_SHARES = {"right": 0.5, "nose_out": 0.3, "under_chin": 0.2}
SUBPIXEL = 4  # fractional bits of a pixel position in OpenCV's drawing
EYES = 0.12  # height on the head above which nothing is drawn
MIN_AREA = 0.3  # of a mask that counts as one, in units of (distance between the eyes) * (eyes to mouth)


def draw_mask(
    image: Image, landmarks: NDArray[np.floating], fabric: str, wearing: str, rng: np.random.Generator
) -> Image:
    """Draw a mask on the face.

    Args:
        image: RGB uint8 (h, w, 3); it is not changed.
        landmarks: (5, 2) in pixels (x, y) of `image`: left eye, right eye, nose, left and right corner of the mouth,
            where left is the smaller x of an upright face.
        fabric: one of `FABRICS`.
        wearing: one of `WEARINGS`: over the nose, below the nose over the mouth, or below the mouth.
        rng: source of all random draws; the same state gives the same pixels.

    Returns:
        A new array; equal to `image` if no mask fits the landmarks, or it would lie outside the image.

    Raises:
        ValueError: there is no such fabric or wearing.
    """
    drawn = _draw(image, landmarks, fabric, wearing, rng)
    return image.copy() if drawn is None else drawn


def synthesise(
    image: Image,
    landmarks: NDArray[np.floating],
    rng: np.random.Generator,
    *,
    fabrics: Mapping[str, float] | None = None,
    wearings: Mapping[str, float] | None = None,
) -> tuple[Image, str | None]:
    """Draw a mask of a random fabric and wearing.

    Args:
        image, landmarks, rng: as for `draw_mask`.
        fabrics: weight of each fabric; those left out are not drawn. None: all of them, masks more often than scarves.
        wearings: weight of each wearing. None: right half of the time. A scarf under the chin is no mask, so a scarf
            is worn right instead.

    Returns:
        The new image, and how the mask is worn in it; None with an unchanged copy if no mask fits.

    Raises:
        ValueError: there is no such fabric or wearing, or no weight above 0.
    """
    fabric = _draw_name(SHARES if fabrics is None else fabrics, rng)
    wearing = _draw_name(WEARING_SHARES if wearings is None else wearings, rng)
    if fabric == "scarf" and wearing == "under_chin":
        wearing = "right"
    drawn = _draw(image, landmarks, fabric, wearing, rng)
    return (image.copy(), None) if drawn is None else (drawn, wearing)


def _draw_name(weights: Mapping[str, float], rng: np.random.Generator) -> str:
    """Draw one of the names with a probability in proportion to its weight."""
    shares = np.fromiter(weights.values(), np.float64)
    if not (len(shares) and np.isfinite(shares).all() and shares.min() >= 0 and shares.sum() > 0):
        raise ValueError(f"weights must not be negative, and at least one above 0: {dict(weights)}")
    return list(weights)[int(rng.choice(len(shares), p=shares / shares.sum()))]


def _draw(
    image: Image, landmarks: NDArray[np.floating], fabric: str, wearing: str, rng: np.random.Generator
) -> Image | None:
    """As `draw_mask`, but return None if no mask fits."""
    if fabric not in FABRICS or wearing not in WEARINGS:
        raise ValueError(f"no mask {fabric!r} worn {wearing!r}; there are {', '.join(FABRICS)}; {', '.join(WEARINGS)}")
    if not can_wear(landmarks, image.shape):
        return None

    # Where the mask lies: the outline and ear loops on the head, and how much of each pixel the mask covers.
    head = head_of(landmarks)
    outline = outline_of(head, fabric, wearing, rng)
    edge = head.pixels(*outline.polygon())
    is_wide = fabric in {"cloth", "patterned"} and rng.random() < 0.35
    loops = [] if fabric == "scarf" else _loops(head, outline, is_wide, rng)
    box = _box([edge, *loops], image.shape, pad=max(0.12 * head.size, 4))
    if box is None:
        return None
    left, top, right, bottom = box
    part = image[top:bottom, left:right].astype(np.float32)
    soft = softness_of(image, head)
    cover = _fill_outline(edge, box, soft)
    if cover.sum() < MIN_AREA * head.size * float(np.hypot(*head.down)):
        return None
    x, v = head.widths_and_heights(left, top, right - left, bottom - top)
    s, t = outline.on_cloth(x, v)
    _uncover_eyes_and_nose(cover, head, x, v, wearing)

    # How the mask looks there: its cloth in the photo's light, colour and sharpness.
    grey = np.asarray(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), np.float32)
    light = light_on(grey, cover, head.size, rng)
    if rng.random() < 0.4:
        _uncover_hair(cover, grey, s, brightness_of(grey, cover))
    lit = light * exposure_of(image, grey, cover, rng)
    cloth = _cloth_for(head, outline, fabric, rng)
    fabric_pixels = _warp(cloth, s, t)
    if soft > 0.6:
        fabric_pixels = np.asarray(cv2.GaussianBlur(fabric_pixels, (0, 0), soft), np.float32)
    tint = tint_of(image)

    # From back to front: the shadow on the skin, the ear loops, the mask with the photo's noise.
    shown = part * (1 - _shadow(cover, head, wearing, v, rng))[..., None]
    if loops:
        strings = _strings(loops, box, head, is_wide)
        strings[(v < EYES) | (cover > 0.9)] = 0
        colour = (cloth.colour if is_wide else cloth.strings) * tint
        shown += strings[..., None] * (_expose(np.broadcast_to(colour, part.shape), lit) - shown)
    noise = rng.standard_normal(cover.shape, np.float32) * (grain_of(grey) + float(rng.uniform(0.3, 1.5)))
    pixels = _expose(fabric_pixels * tint, lit) + noise[..., None]
    shown += (cover * cloth.opacity)[..., None] * (pixels - shown)
    result = image.copy()
    result[top:bottom, left:right] = np.clip(shown + 0.5, 0, 255).astype(np.uint8)
    return result


def _box(curves: list[Floats], shape: tuple[int, ...], pad: float) -> tuple[int, int, int, int] | None:
    """Return left, top, right, bottom of the image's part that the curves reach, in pixels; None if too small."""
    points = np.concatenate(curves)
    low, high = np.floor(points.min(axis=0) - pad), np.ceil(points.max(axis=0) + pad)
    left, top = (int(max(value, 0)) for value in low)
    right, bottom = int(min(high[0], shape[1])), int(min(high[1], shape[0]))
    return (left, top, right, bottom) if right - left > 3 and bottom - top > 3 else None


def _fill_outline(edge: Floats, box: tuple[int, int, int, int], soft: float) -> Floats:
    """Return how much of each pixel of the box lies within the closed edge (n, 2): (h, w) in [0, 1]."""
    left, top, right, bottom = box
    cover = np.zeros((bottom - top, right - left), np.float32)
    points = np.round((edge - (left, top)) * 2**SUBPIXEL).astype(np.int32)
    cv2.fillPoly(cover, [points], 1.0, cv2.LINE_AA, SUBPIXEL)
    return np.asarray(cv2.GaussianBlur(cover, (0, 0), soft), np.float32)


def _uncover_eyes_and_nose(cover: Floats, head: Head, x: Floats, v: Floats, wearing: str) -> None:
    """Clear `cover` at the eyes and, unless the mask is worn right, at the tip of the nose."""
    free = v < EYES
    if wearing != "right":
        nose = float(head.width_at(np.zeros(1, np.float32))[0]) * 1.2
        free |= (v < head.nose + 0.06) & (np.abs(x - nose) < 0.35)
    cover[free] = 0


def _uncover_hair(cover: Floats, grey: Floats, s: Floats, skin: float) -> None:
    """Clear `cover` at dark pixels near the mask's sides: they are hair, which hangs over the mask."""
    dark = np.clip((0.5 * skin - grey) / (0.12 * skin + 1), 0, 1)
    cover *= 1 - dark * np.clip((np.abs(s) - 0.6) / 0.15, 0, 1)


def _cloth_for(head: Head, outline: Outline, fabric: str, rng: np.random.Generator) -> Cloth:
    """Draw the cloth, with about as many pixels as it will cover."""
    middle = len(outline.top) // 2
    height = float(outline.bottom[middle] - outline.top[middle]) * float(np.hypot(*head.down))
    width = float(outline.x[-1] - outline.x[0]) * head.size * 1.25
    return cloth_of(fabric, int(np.clip(height, 12, 400)), int(np.clip(width, 16, 400)), rng)


def _warp(cloth: Cloth, s: Floats, t: Floats) -> Floats:
    """Return the cloth's colour at (s, t), (h, w) each: (h, w, 3)."""
    height, width = cloth.picture.shape[:2]
    column, row = (s + 1) * ((width - 1) / 2), t * (height - 1)
    warped = cv2.remap(cloth.picture, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.float32)


def _expose(colour: Floats, light: Floats) -> Floats:
    """Return the colour (h, w, 3) in this light (h, w); what is too bright for a camera fades into white."""
    bright = colour * light[..., None]
    over = np.maximum(bright - 215, 0)
    return np.asarray(bright - over + over * (40 / (40 + over)), np.float32)


def _shadow(cover: Floats, head: Head, wearing: str, v: Floats, rng: np.random.Generator) -> Floats:
    """Return the share of light (h, w) that the mask takes from the skin around it, mostly below."""
    strength, blur = float(rng.uniform(0.08, 0.4)), max(0.05 * head.size, 0.8)
    down = head.down * (0.06 / max(float(np.hypot(*head.down)), 1e-6)) * head.size * float(rng.uniform(0.2, 1))
    shift = np.array([[1, 0, down[0]], [0, 1, down[1]]], np.float32)
    moved = cv2.warpAffine(cover, shift, cover.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    shadow = np.asarray(cv2.GaussianBlur(moved, (0, 0), blur), np.float32) * strength
    shadow[v < (EYES if wearing == "right" else head.nose + 0.06)] = 0
    return shadow


def _loops(head: Head, outline: Outline, is_wide: bool, rng: np.random.Generator) -> list[Floats]:
    """Return curves from the mask's corners to the visible ears: two per ear, each of (n, 2) pixels of the image."""
    curves: list[Floats] = []
    ear, way = float(rng.uniform(0.16, 0.42)), np.linspace(0, 1, 9, dtype=np.float32)
    for end, angle in zip((0, -1), outline.angles, strict=True):
        if abs(angle + head.yaw) > 1.5:
            continue
        reach = np.array([np.copysign(1.5, angle)], np.float32)
        ear_x = float(head.width_at(reach)[0]) * float(rng.uniform(1.05, 1.2))
        x0, height = float(outline.x[end]), float(outline.bottom[end] - outline.top[end])
        spread = 0.3 if is_wide else 0.08
        for corner, slack in ((0.05, -0.04), (0.92, 0.08)):
            v0, v1 = float(outline.top[end]) + corner * height, ear + spread * corner
            bend = float(rng.uniform(0, 1)) * slack
            x = (1 - way) * x0 + way * ear_x
            v = (1 - way) * v0 + way * v1 + 4 * bend * way * (1 - way)
            curves.append(head.pixels(x.astype(np.float32), v.astype(np.float32)))
    return curves


def _strings(loops: list[Floats], box: tuple[int, int, int, int], head: Head, is_wide: bool) -> Floats:
    """Return how much of each pixel of the box the ear loops cover: (h, w) in [0, 1]."""
    left, top, right, bottom = box
    cover = np.zeros((bottom - top, right - left), np.float32)
    curves = [np.round((curve - (left, top)) * 2**SUBPIXEL).astype(np.int32) for curve in loops]
    if is_wide:
        for upper, lower in zip(curves[::2], curves[1::2], strict=True):
            cv2.fillPoly(cover, [np.concatenate([upper, lower[::-1]])], 1.0, cv2.LINE_AA, SUBPIXEL)
    else:
        width = 0.018 * head.size  # a loop thinner than a pixel is drawn as a fainter pixel
        cv2.polylines(cover, curves, False, min(width, 0.9), max(round(width), 1), cv2.LINE_AA, SUBPIXEL)
    return cover
