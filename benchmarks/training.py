"""Measure the overhead of the training loop over the model alone, on the same batch.

    python benchmarks/training.py CONFIG [--photos 1024] [--rounds 3] [--device cpu] [--workers 0] [--set KEY=VALUE ...]

Trains the first network that CONFIG plans on noise of its input size, with its augmentation, loss, average and
optimiser, as `faceline train` does; and repeats forward, backward and step of a network on one batch. Both take turns:
the first epoch of each turn warms up, the second counts, and the best turn is reported. First, it measures the model
alone while a CPU's freed memory goes back to the system.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch

from classify.allocator import keep_freed_memory
from classify.data.augmentation import needed_margin
from classify.data.training_set import NetworkData
from classify.models.backbones import build_network, normalise_of
from classify.models.network_plan import Plan, plan_networks
from classify.preprocessing import centre_of
from classify.training.loop import ComputeSetup, train_network
from classify.training.optimisation import build_optimiser, precision_of
from pipeline.settings import load_settings


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--photos", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    settings = load_settings(args.config, ["train.epochs=2", "train.soup=0", "train.keep=last", *args.set])
    plan = plan_networks(next(iter(settings.task_configs.values())))[0]
    data = noise(plan, args.photos)
    compute = ComputeSetup(args.device, args.workers)
    given_back = model_only(plan, data, args.device)
    if args.device == "cpu":
        keep_freed_memory()
    turns = [(loop(plan, data, compute), model_only(plan, data, args.device)) for _ in range(args.rounds)]
    through, model = (max(rates) for rates in zip(*turns, strict=True))
    print(f"{plan.model.backbone} {plan.model.input[0]}x{plan.model.input[1]}, batches of {plan.train.batch}")
    print(f"model alone, freed memory given back: {given_back:.1f} images/s")
    print(f"loop {through:.1f} images/s, model alone {model:.1f}: the loop takes {1 - through / model:.1%} of the time")


def noise(plan: Plan, photos: int) -> NetworkData:
    """Make photos of noise with random labels, none held out."""
    rng = np.random.default_rng(0)
    codes = np.stack([rng.integers(0, len(task.classes), photos) for task in plan.tasks], axis=1)
    margin = needed_margin(plan)
    height, width = (side + 2 * more for side, more in zip(plan.model.input, margin, strict=True))
    packed = rng.integers(0, 256, (photos, height, width, 3), dtype=np.uint8)
    pixels, wide = centre_of(packed, margin), packed if any(margin) else None
    everyone, nobody = np.arange(photos), np.arange(0)
    unknown = np.full(codes.shape, np.nan)
    return NetworkData(pixels, codes, unknown, codes >= 0, codes, everyone, nobody, person_ids=everyone // 7, wide=wide)


def loop(plan: Plan, data: NetworkData, compute: ComputeSetup) -> float:
    """Return images per second of the second epoch."""
    with tempfile.TemporaryDirectory() as folder:
        history: list[dict] = []
        train_network(
            plan, data, Path(folder), seed=0, compute=compute, on_epoch_end=lambda lines: history.append(lines[-1])
        )
    steps = len(data.train) // plan.train.batch
    return steps * plan.train.batch / (history[-1]["seconds"] * len(plan.tasks))


def model_only(plan: Plan, data: NetworkData, device: str) -> float:
    """Return images per second of the same network on one batch."""
    network = build_network(plan.model, plan.heads.outputs, pretrained=False).to(device).train()
    images = normalise_of(network)(torch.from_numpy(data.pixels[: plan.train.batch]).to(device))
    targets = torch.from_numpy(data.training_set(plan.heads).targets[: plan.train.batch]).to(device)
    optimiser = build_optimiser(network, plan.train)
    precision = precision_of(plan.train, device)
    steps = len(data.train) // plan.train.batch
    for _ in range(2):
        started = time.perf_counter()
        for _ in range(steps):
            with torch.autocast(torch.device(device).type, precision, enabled=precision is not torch.float32):
                outputs = network(images)
            plan.heads.loss(outputs.float(), targets).backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        if device != "cpu":
            torch.cuda.synchronize()
        lasted = time.perf_counter() - started
    return steps * plan.train.batch / lasted


if __name__ == "__main__":
    main()
