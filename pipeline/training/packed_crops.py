"""Crops as the arrays that training reads.

In: labelled photos with crops. Out: one uint8 array in the cache for each input size among the networks.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import DataError
from cache.pack import pack
from classify.config import ModelConfig
from classify.preprocessing import (
    INPUT_VERSION,
    SURROUNDINGS_VERSION,
    Margin,
    decode_crop,
    input_scale,
    with_surroundings,
)
from pipeline.context import RunContext
from pipeline.detection.detect import Detection
from pipeline.intake.photo import Photo


def with_crops(photos: Sequence[Photo], detection: Detection) -> list[Photo]:
    """Return the photos that have crops, which are those that can be trained on.

    Raises:
        DataError: there are none.
    """
    kept = [photo for photo in photos if detection.entry(photo).outcome == "ok"]
    if not kept:
        raise DataError("none of the labelled photos can be read, so there is nothing to train on")
    return kept


def training_pixels(
    sources: Sequence[str], model: ModelConfig, detection: Detection, context: RunContext, margin: Margin = (0, 0)
) -> NDArray[np.uint8]:
    """Return the inputs of a network; they are packed unless they were before.

    Args:
        sources: of the N crops.
        model: size of the inputs, and zoom.
        margin: of the surroundings that each input is packed with.

    Returns:
        (N, H + 2 * margin[0], W + 2 * margin[1], 3) uint8 in RGB; without the margin, what prediction sees.
    """

    def prepare(content: bytes, _: Any) -> NDArray[np.uint8]:
        return with_surroundings(decode_crop(content), model.input, model.zoom, margin)

    key: dict[str, Any] = {"input": list(model.input), "zoom": model.zoom, "version": INPUT_VERSION}
    if any(margin):
        key |= {"margin": list(margin), "surroundings": SURROUNDINGS_VERSION}
    with context.console.progress("Packing crops", len(sources)) as advance:
        shape, warn = (model.input[0] + 2 * margin[0], model.input[1] + 2 * margin[1], 3), context.console.warn
        return pack(detection.store, sources, shape, key, prepare, threads=context.workers, progress=advance, warn=warn)


def training_landmarks(sources: Sequence[str], model: ModelConfig, detection: Detection) -> NDArray[np.float32]:
    """Return the faces' landmarks, (N, 5, 2) as (x, y) in pixels of the network's input; NaN where there are none."""
    landmarks = np.full((len(sources), 5, 2), np.nan, np.float32)
    for row, source in enumerate(sources):
        facts = detection.store.crop(source).facts
        if facts["landmarks"]:
            x1, y1, x2, y2 = facts["window"]
            scale = input_scale((y2 - y1, x2 - x1), model.input, model.zoom)
            middle = np.array([(x1 + x2) / 2, (y1 + y2) / 2])
            angle = np.radians(facts["turn"])  # by which `cut` rotates an aligned window about its middle
            rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            upright = (np.array(facts["landmarks"]) - middle) @ rotation
            landmarks[row] = upright / scale + np.array(model.input[::-1]) / 2
    return landmarks
