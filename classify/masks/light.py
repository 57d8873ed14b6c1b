"""Light, sharpness and noise of a photo, so that what is drawn into it looks photographed with it.

In: an image (h, w, 3), or the grey values (h, w) of a part of it. Out: brightness fields and a few numbers.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from classify.masks.shape import Floats, Head
from classify.preprocessing import Image

SKIN = 165.0  # brightness of a face in a photo with normal exposure
PAPER = 235.0  # brightness of a white object in such a photo


def light_on(grey: Floats, cover: Floats, size: float, rng: np.random.Generator) -> Floats:
    """Estimate the light on the covered skin, relative to its mean, too coarsely for mouth and beard to show.

    Args:
        grey: (h, w) brightness, 0 to 255.
        cover: (h, w) in [0, 1], how much of each pixel the mask covers.
        size: distance between the eyes, in pixels.
        rng: draws how much of the skin's contrast the mask takes on.

    Returns:
        (h, w) about 1, between 0.4 and 1.6.
    """
    height, width = grey.shape
    small = (max(round(width * 6 / size), 2), max(round(height * 6 / size), 2))
    weight = np.asarray(cv2.resize(cover, small, interpolation=cv2.INTER_AREA), np.float32) + 1e-3
    bright = np.asarray(cv2.resize(grey * cover, small, interpolation=cv2.INTER_AREA), np.float32)
    bright = cv2.GaussianBlur(bright + 1e-3 * brightness_of(grey, cover), (0, 0), 1.5)
    field = np.asarray(bright / cv2.GaussianBlur(weight, (0, 0), 1.5), np.float32)
    field = np.clip(field / max(brightness_of(grey, cover), 1.0), 0.3, 2) ** float(rng.uniform(0.7, 1.1))
    large = cv2.resize(np.clip(field, 0.4, 1.6), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large, np.float32)


def brightness_of(grey: Floats, cover: Floats) -> float:
    """Return the mean of `grey` (h, w), weighted by `cover` (h, w)."""
    return float((grey * cover).sum() / max(float(cover.sum()), 1e-6))


def exposure_of(image: Image, grey: Floats, cover: Floats, rng: np.random.Generator) -> float:
    """Estimate how bright a white mask is in this photo, as a share of white, in [0.2, 1.2].

    The brightness of the skin alone can't distinguish dark skin from a dark room, so the photo's brightest parts count
    as well.
    """
    step = max(image.shape[0] // 32, 1)
    paper = float(np.percentile(image[::step, ::step, 1], 92)) / PAPER
    skin = brightness_of(grey, cover) / SKIN
    return float(np.clip(max(skin, 0.5 * skin + 0.5 * paper) * rng.uniform(0.92, 1.25), 0.2, 1.2))


def tint_of(image: Image) -> Floats:
    """Return (3,) RGB factors that give white a slight tint of the photo's mean colour."""
    mean = np.asarray(cv2.mean(image)[:3]) + 8
    return np.clip((mean / mean.mean()) ** 0.15, 0.9, 1.1).astype(np.float32)


def grain_of(grey: Floats) -> float:
    """Estimate the standard deviation of the photo's noise from neighbouring pixels (h, w) in its smooth parts."""
    step = np.abs(grey[:, 1:] - grey[:, :-1])[::2, ::2]
    return min(float(np.percentile(step, 30)) * 0.6, 5.0)


def softness_of(image: Image, head: Head) -> float:
    """Estimate the blur of this photo's edges, in pixels, from the sharpest ones at the eyes; at least 0.5."""
    reach = max(round(head.size * 0.9), 4)
    x, y = (round(float(value)) for value in head.centre)
    eyes = image[max(y - reach // 2, 0) : max(y + reach // 2, 0), max(x - reach, 0) : max(x + reach, 0), 1]
    if min(eyes.shape) < 4:
        return 0.6
    grey: NDArray[np.float32] = eyes.astype(np.float32)
    contrast = float(np.percentile(grey, 98) - np.percentile(grey, 2)) + 4
    steepest = float(np.percentile(np.abs(grey[:, 2:] - grey[:, :-2]), 99)) / 2 + 0.5
    return float(np.clip(contrast / steepest * 0.22, 0.5, 0.06 * head.size + 0.5))
