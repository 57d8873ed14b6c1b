"""How weights are updated: optimiser, learning rate and number format.

TrainConfig -> timm's optimiser and schedule.
"""

import shutil
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import nn

from cache.errors import UsageError
from classify.config import TrainConfig
from classify.models.backbones import head_of


def build_optimiser(network: nn.Module, train: TrainConfig) -> torch.optim.Optimizer:
    """timm's optimiser with four groups: backbone and head, each with and without weight decay."""
    head = {id(p) for p in head_of(network).parameters()}
    groups: list[dict[str, Any]] = []
    for in_head in (False, True):
        for decays in (False, True):
            parameters = [
                p
                for p in network.parameters()
                if (id(p) in head) == in_head and (p.ndim > 1) == decays and (in_head or not train.freeze)
            ]
            scale = train.head_lr_scale if in_head else 1.0
            decay = train.weight_decay if decays else 0.0
            groups.append({"params": parameters, "lr_scale": scale, "weight_decay": decay})  # timm's schedule scales
    try:
        return create_optimizer_v2([g for g in groups if g["params"]], opt=train.optimiser, lr=train.lr)
    except (ValueError, TypeError, AssertionError) as error:
        raise UsageError(f"train.optimiser: timm has no optimiser {train.optimiser!r} for this ({error})") from error


def build_schedule(optimiser: torch.optim.Optimizer, train: TrainConfig, steps_per_epoch: int) -> Any:
    """timm's schedule, called before every update; a function of the update's number, so it needs no state."""
    scheduler, _ = create_scheduler_v2(
        optimiser,
        sched="cosine" if train.schedule == "cosine" else "step",
        num_epochs=train.epochs,
        decay_epochs=train.step_epochs if train.schedule == "step" else 10**9,
        decay_rate=train.step_decay,
        warmup_epochs=train.warmup * train.epochs,  # pyright: ignore[reportArgumentType]: counted in updates, so parts of an epoch work
        warmup_lr=train.lr * 0.01,
        min_lr=train.lr * 0.001,
        warmup_prefix=True,
        step_on_epochs=False,
        updates_per_epoch=steps_per_epoch,
    )
    return scheduler


def refuse_without_compiler(train: TrainConfig) -> None:
    """Check for a C++ compiler before the run: torch.compile would fail in the first step, hours after the command.

    Raises:
        UsageError: `train.compile` is set, and there is no compiler.
    """
    if train.compile and not any(shutil.which(name) for name in ("c++", "g++", "clang++", "cl")):
        raise UsageError("train.compile needs a C++ compiler (g++ or clang++), and there is none; leave it out")


def precision_of(train: TrainConfig, device: str) -> torch.dtype:
    """The number format of the forward pass."""
    if train.precision != "auto":
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[train.precision]
    if torch.device(device).type != "cuda":
        return torch.float32
    # An emulated bfloat16 is slower than float32.
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
