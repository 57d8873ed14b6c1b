"""`faceline cache pack`: the arrays that training reads, made before it starts."""

from pathlib import Path
from typing import Any

import numpy as np

from classify.data.augmentation import needed_margin
from classify.models.network_plan import plan_networks
from pipeline.console import counted
from pipeline.context import RunContext
from pipeline.detection.detect import detect_photos
from pipeline.intake.corrections import load_labelled
from pipeline.training.packed_crops import training_pixels, with_crops


def pack_crops(data: Path, context: RunContext, next_step: str = "") -> None:
    """Make the arrays that training with these settings would make, one per input size, zoom and margin."""
    views = {
        (plan.model.input, plan.model.zoom, needed_margin(plan)): plan.model
        for configs in context.settings.task_configs.values()
        for plan in plan_networks(configs)
    }
    dataset = load_labelled(data, context.settings).require_usable()
    detection = detect_photos(dataset.train, context)
    sources = [detection.sources[photo.path] for photo in with_crops(dataset.train, detection)]
    packs: list[dict[str, Any]] = []
    for (size, zoom, margin), model in views.items():
        pixels = training_pixels(sources, model, detection, context, margin)
        folder = str(Path(pixels.filename).parent) if isinstance(pixels, np.memmap) and pixels.filename else ""
        about = {"input": list(size), "zoom": zoom, "margin": list(margin)}
        packs.append({**about, "rows": len(pixels), "bytes": pixels.nbytes, "pack": folder})
    rows = [
        [
            "x".join(map(str, p["input"])),
            p["zoom"],
            "x".join(map(str, p["margin"])),
            p["rows"],
            f"{p['bytes'] / 1e6:.1f} MB",
        ]
        for p in packs
    ]
    context.console.table("Packs", ["input", "zoom", "margin", "photos", "size"], rows)
    text = f"{counted(len(packs), 'pack')} of {counted(len(sources), 'photo')}."
    context.console.done({"packs": packs}, text=text, next_step=next_step)
