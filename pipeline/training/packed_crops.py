"""Crops as the arrays that training reads.

labelled photos with crops -> one uint8 array for each input size among the tasks, in the cache.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import DataError
from cache.pack import pack
from classify.config import ModelConfig
from classify.preprocessing import INPUT_VERSION, decode_crop, input_scale, to_input
from pipeline.context import RunContext
from pipeline.detection.detect import Detection
from pipeline.intake.photo import Photo


def with_crops(photos: Sequence[Photo], detection: Detection) -> list[Photo]:
    """The photos that can be trained on.

    Raises:
        DataError: there is none.
    """
    kept = [photo for photo in photos if detection.entry(photo).outcome == "ok"]
    if not kept:
        raise DataError("none of the labelled photos can be read, so there is nothing to train on")
    return kept


def training_pixels(
    sources: Sequence[str], model: ModelConfig, detection: Detection, context: RunContext
) -> NDArray[np.uint8]:
    """The crops as one network takes them, (N, *model.input, 3) uint8, packed when they are not yet."""

    def prepare(content: bytes, _: Any) -> NDArray[np.uint8]:
        return to_input(decode_crop(content), model.input, model.zoom)

    key = {"input": list(model.input), "zoom": model.zoom, "version": INPUT_VERSION}
    with context.console.progress("Packing crops", len(sources)) as advance:
        shape, say = (*model.input, 3), context.console.warn
        return pack(detection.store, sources, shape, key, prepare, threads=context.workers, progress=advance, warn=say)


def training_landmarks(sources: Sequence[str], model: ModelConfig, detection: Detection) -> NDArray[np.float32]:
    """The five landmarks of every face in pixels of the network's input, (N, 5, 2); NaN where none are known."""
    landmarks = np.full((len(sources), 5, 2), np.nan, np.float32)
    for row, source in enumerate(sources):
        facts = detection.store.crop(source).facts
        if facts["landmarks"]:
            x1, y1, x2, y2 = facts["window"]
            scale = input_scale((y2 - y1, x2 - x1), model.input, model.zoom)
            middle = np.array([(x1 + x2) / 2, (y1 + y2) / 2])
            angle = np.radians(facts["turn"])  # as `cut` turns an aligned window around its middle
            turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            upright = (np.array(facts["landmarks"]) - middle) @ turned
            landmarks[row] = upright / scale + np.array(model.input[::-1]) / 2
    return landmarks
