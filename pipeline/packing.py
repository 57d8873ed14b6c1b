"""Crops as the arrays that training reads.

labelled photos with crops -> one uint8 array for each input size among the tasks, in the cache.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import DataError
from cache.pack import pack
from classify.config import ModelConfig
from classify.inputs import INPUT_VERSION, decode_crop, input_scale, to_input
from pipeline.chain import usable
from pipeline.console import cell
from pipeline.correcting import load_labelled
from pipeline.detection import Detection, detect_photos
from pipeline.job import Job
from pipeline.photos import Photo


def with_crops(photos: Sequence[Photo], detection: Detection) -> list[Photo]:
    """The photos that can be trained on.

    Raises:
        DataError: there is none.
    """
    kept = [photo for photo in photos if detection.entry(photo).outcome == "ok"]
    if not kept:
        raise DataError("none of the labelled photos can be read, so there is nothing to train on")
    return kept


def training_pixels(sources: Sequence[str], model: ModelConfig, detection: Detection, job: Job) -> NDArray[np.uint8]:
    """The crops as one network takes them, (N, *model.input, 3) uint8, packed when they are not yet."""

    def prepare(content: bytes, _: Any) -> NDArray[np.uint8]:
        return to_input(decode_crop(content), model.input, model.zoom)

    key = {"input": list(model.input), "zoom": model.zoom, "version": INPUT_VERSION}
    with job.show.progress("Packing crops", len(sources)) as advance:
        shape, say = (*model.input, 3), job.show.warn
        return pack(detection.store, sources, shape, key, prepare, threads=job.workers, progress=advance, warn=say)


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


def pack_stage(data: Path, job: Job) -> None:
    """`faceline cache pack`: what training with these settings would pack, made now."""
    dataset = usable(load_labelled(data, job.settings))
    detection = detect_photos(dataset.train, job)
    sources = [detection.sources[photo.path] for photo in with_crops(dataset.train, detection)]
    models = {(tuple(task.model.input), task.model.zoom): task.model for task in job.settings.tasks.values()}
    packs: list[dict[str, Any]] = []
    for (size, zoom), model in models.items():
        pixels = training_pixels(sources, model, detection, job)
        where = str(Path(pixels.filename).parent) if isinstance(pixels, np.memmap) and pixels.filename else ""
        packs.append({"input": list(size), "zoom": zoom, "rows": len(pixels), "bytes": pixels.nbytes, "pack": where})
    rows = [[f"{p['input'][0]}x{p['input'][1]}", p["zoom"], p["rows"], f"{p['bytes'] / 1e6:.1f} MB"] for p in packs]
    job.show.table("Packs", ["input", "zoom", "photos", "size"], rows)
    text = f"{cell(len(packs))} packs of {cell(len(sources))} photos."
    job.show.done({"packs": packs}, text=text, next_step=f"faceline train {data}")
