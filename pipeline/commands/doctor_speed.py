"""How many photos a second this machine detects, predicts and trains with.

In: the settings, and a bundle. Out: rates, measured on drawn photos of 384x512 in a few seconds.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch

from classify.inference.ensemble import load_ensemble
from classify.models.backbones import build_network, normalise_of
from pipeline.console import Console
from pipeline.context import RunContext
from pipeline.demo.dataset import JPEG, STEMS
from pipeline.demo.face import draw_photo
from pipeline.demo.person import draw_person
from pipeline.detection.detect import detect_photos
from pipeline.intake.photo import Photo
from pipeline.prediction.engine import Engine

DRAWN, WARM_UP, MEASURED = 7, 4, 32  # photos
SAMPLES = 32  # of a training step


def measure_speed(context: RunContext, bundle: Path | None = None) -> dict[str, float]:
    """Measure what a second is enough for: photos from files to crops, and to predictions; samples of a training step.

    Args:
        context: device, workers and settings.
        bundle: what predicts; None to measure no predictions.

    Raises:
        UsageError, BundleError: the settings or the bundle can't be used here.
    """
    with TemporaryDirectory(prefix="faceline-", ignore_cleanup_errors=True) as folder:
        photos = _draw_photos(Path(folder))
        here = replace(context, cache=Path(folder) / "cache", kept={}, console=Console.silent())
        rates = {"photos_detected": _rate(lambda some: detect_photos(some, here), photos)}
        if bundle is not None:
            # With the user's cache, in which converted networks are kept
            engine = Engine(load_ensemble([bundle]), replace(here, cache=context.cache), use_cache=False)
            rates["photos_predicted"] = _rate(lambda some: list(engine.predict(some)), photos)
    rates["samples_trained"] = _training_rate(context)
    return {what: round(rate, 1) for what, rate in rates.items()}


def _draw_photos(folder: Path) -> list[Photo]:
    """Draw a few people, and write as many files as are needed, with different bytes."""
    rng = np.random.default_rng(0)
    person = draw_person(rng, 30, "female")
    contents = [
        cv2.imencode(".jpg", cv2.cvtColor(draw_photo(person, stem, rng), cv2.COLOR_RGB2BGR), JPEG)[1].tobytes()
        for stem in STEMS[:DRAWN]
    ]
    photos: list[Photo] = []
    for number in range(WARM_UP + MEASURED):
        path = folder / f"{number}.jpg"
        path.write_bytes(contents[number % DRAWN] + number.to_bytes(2, "big"))  # readers stop at a JPEG's end
        photos.append(Photo(path, path.name, path.name))
    return photos


def _rate(work: Callable[[Sequence[Photo]], object], photos: Sequence[Photo]) -> float:
    """Photos a second, once everything is loaded."""
    work(photos[:WARM_UP])
    started = time.perf_counter()
    work(photos[WARM_UP:])
    return MEASURED / (time.perf_counter() - started)


def _training_rate(context: RunContext) -> float:
    """Samples a second through a training step of the first task's network, on noise."""
    device, rng = context.torch_device(), np.random.default_rng(0)
    config = next(iter(context.settings.tasks.values()))
    network = build_network(config.model, len(config.classes), pretrained=False).to(device).train()
    normalise = normalise_of(network)
    batch = torch.from_numpy(rng.integers(0, 255, (SAMPLES, *config.model.input, 3), dtype=np.uint8)).to(device)
    seconds = 0.0
    for _ in range(2):  # the first one warms up
        started = time.perf_counter()
        network(normalise(batch)).sum().backward()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    return SAMPLES / seconds
