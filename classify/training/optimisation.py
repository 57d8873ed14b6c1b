"""How weights are updated: optimiser, learning rate and number format.

TrainConfig -> timm's optimiser and schedule.
"""

import shutil
from collections.abc import Callable, Collection
from typing import Any

import torch
from timm.optim import create_optimizer_v2, param_groups_weight_decay
from timm.scheduler import create_scheduler_v2
from torch import nn

from cache.errors import UsageError
from classify.config import TrainConfig
from classify.devices import fastest_precision
from classify.models.backbones import head_of

LR_FLOOR = 0.001  # of the cosine, as a share of `lr`
RECIPE = 2  # goes up when the same settings come to mean other updates: half a training of each would be neither
FIT_RECIPE = 3  # the same for a frozen backbone, whose last layer was trained in steps before


def build_optimiser(network: nn.Module, train: TrainConfig) -> torch.optim.Optimizer:
    """timm's optimiser with four groups: backbone and head, each with and without weight decay.

    Biases and norm layers have no weight decay, nor what the network itself names, such as position embeddings.
    """
    head = {id(p) for p in head_of(network).parameters()}
    timm_groups = param_groups_weight_decay(network, 1.0, no_weight_decay_list=undecayed_names(network))
    decayed = {id(p) for group in timm_groups if group["weight_decay"] for p in group["params"]}
    groups: list[dict[str, Any]] = []
    for in_head in (False, True):
        for decays in (False, True):
            parameters = [
                p for p in network.parameters() if (id(p) in head) == in_head and (id(p) in decayed) == decays
            ]
            scale = train.head_lr_scale if in_head else 1.0
            decay = train.weight_decay if decays else 0.0
            groups.append({"params": parameters, "lr_scale": scale, "weight_decay": decay})  # timm's schedule scales
    try:
        return create_optimizer_v2([g for g in groups if g["params"]], opt=train.optimiser, lr=train.lr)
    except (ValueError, TypeError, AssertionError) as error:
        raise UsageError(f"train.optimiser: timm has no optimiser {train.optimiser!r} for this ({error})") from error


def recipe_of(train: TrainConfig) -> int:
    """What checkpoints of a training are marked with."""
    return FIT_RECIPE if train.freeze else RECIPE


def undecayed_names(network: nn.Module) -> list[str]:
    """What timm's `no_weight_decay` of the network names; empty where it names nothing."""
    no_weight_decay: Callable[[], Collection[str]] = getattr(network, "no_weight_decay", tuple)
    return sorted(no_weight_decay())


def build_schedule(optimiser: torch.optim.Optimizer, train: TrainConfig, steps_per_epoch: int) -> Any:
    """timm's schedule, called before every update; a function of the update's number, so it needs no state.

    The cosine reaches its floor, a thousandth of `lr`, in the last update: it has the updates that remain after the
    warm-up. A training of two updates has no warm-up, and one of a single update no cosine either.
    """
    updates = train.epochs * steps_per_epoch
    warmup = min(train.warmup * updates, max(updates - 2, 0))
    scheduler, _ = create_scheduler_v2(
        optimiser,
        sched="cosine" if train.schedule == "cosine" else "step",
        # All lengths are in updates: timm multiplies what it calls epochs by `updates_per_epoch`.
        num_epochs=max(updates - 1 - warmup, 1),  # pyright: ignore[reportArgumentType]: parts of an update work
        decay_epochs=train.step_epochs * steps_per_epoch if train.schedule == "step" else 10**9 * steps_per_epoch,
        decay_rate=train.step_decay,
        warmup_epochs=warmup,  # pyright: ignore[reportArgumentType]
        warmup_lr=train.lr * 0.01,
        min_lr=train.lr * LR_FLOOR,
        warmup_prefix=True,
        step_on_epochs=False,
        updates_per_epoch=1,
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
    return fastest_precision(device)
