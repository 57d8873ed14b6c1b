"""`faceline cache pack`: the arrays that training reads, made before it starts."""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.console import cell
from pipeline.context import RunContext
from pipeline.detection.detect import detect_photos
from pipeline.intake.corrections import load_labelled
from pipeline.training.packed_crops import training_pixels, with_crops


def pack_crops(data: Path, context: RunContext) -> None:
    """Make the arrays that training with these settings would make, one per input size and zoom."""
    dataset = load_labelled(data, context.settings).require_usable()
    detection = detect_photos(dataset.train, context)
    sources = [detection.sources[photo.path] for photo in with_crops(dataset.train, detection)]
    models = {(tuple(task.model.input), task.model.zoom): task.model for task in context.settings.tasks.values()}
    packs: list[dict[str, Any]] = []
    for (size, zoom), model in models.items():
        pixels = training_pixels(sources, model, detection, context)
        folder = str(Path(pixels.filename).parent) if isinstance(pixels, np.memmap) and pixels.filename else ""
        packs.append({"input": list(size), "zoom": zoom, "rows": len(pixels), "bytes": pixels.nbytes, "pack": folder})
    rows = [[f"{p['input'][0]}x{p['input'][1]}", p["zoom"], p["rows"], f"{p['bytes'] / 1e6:.1f} MB"] for p in packs]
    context.console.table("Packs", ["input", "zoom", "photos", "size"], rows)
    text = f"{cell(len(packs))} packs of {cell(len(sources))} photos."
    context.console.done({"packs": packs}, text=text, next_step=f"faceline train {data}")
