"""Train one network: the loop over epochs, written out once, top to bottom.

NetworkData + Plan -> weights of the best or the last epoch, and metrics per epoch and task.

The state after every epoch is on disk before the next begins. A training that was killed continues from there and ends
with the metrics of an uninterrupted one, because everything random is a function of (seed, epoch).
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from cache.errors import UsageError
from classify.allocator import keep_freed_memory
from classify.data.training_set import NetworkData
from classify.models.backbones import build_network
from classify.models.frozen_features import FrozenFeatures
from classify.models.network_plan import Plan
from classify.training.checkpoint import load_checkpoint, save_checkpoint
from classify.training.trainer import ComputeSetup, EpochMetrics, OnStep, Trainer

OnEpochEnd = Callable[[list[EpochMetrics]], None]


def train_network(
    plan: Plan,
    data: NetworkData,
    folder: Path,
    *,
    seed: int,
    compute: ComputeSetup,
    on_epoch_end: OnEpochEnd,
    on_step: OnStep | None = None,
    frozen: FrozenFeatures | None = None,
) -> nn.Module:
    """Train until `plan.train.passes`, resuming from `folder/last.safetensors` when it is there.

    Args:
        plan: the network's tasks and settings.
        data: inputs and labels.
        folder: RUN/NAME, on a disk that all processes see; gets last.* and best.*.
        seed: of everything random.
        compute: device, workers, and this process among others.
        on_epoch_end: called in rank 0 with the metrics so far, one entry per epoch and task.
        on_step: called before the first step of each epoch and after each step.
        frozen: features that networks with the same frozen backbone keep for each other.

    Returns:
        The kept network, on the CPU, in evaluation mode.

    Raises:
        BundleError: the folder's state belongs to other settings or other data.
        UsageError: the loss is not finite, the GPU's memory is too small, or the processes see different folders.
    """
    torch.manual_seed(seed)
    if compute.device == "cpu":
        keep_freed_memory()
    ranks, tasks = compute.ranks, len(plan.tasks)

    # Resume where an earlier training stopped.
    with _memory_errors_in_words(plan):
        trainer = Trainer(plan, data, seed, compute, frozen)
    history = trainer.resume(folder / "last.safetensors")
    if len(history) != ranks.broadcast(lambda: len(history)):
        raise UsageError(f"{folder} is not what rank 0 sees there: --out must be on a disk that all processes see")
    if history and ranks.is_main:
        on_epoch_end(history)
    keeps_last = plan.train.keep == "last" or not len(data.validate)
    rank_epoch = _negative_mean_loss if plan.train.keep == "best_loss" else _mean_f1
    epochs_before = (history[start : start + tasks] for start in range(0, len(history), tasks))
    best = max(map(rank_epoch, epochs_before), default=float("-inf"))
    if plan.train.probe and not history:
        with _memory_errors_in_words(plan):
            trainer.probe()

    for epoch in range(len(history) // tasks, plan.train.passes):
        # Train and validate.
        started = time.perf_counter()
        with _memory_errors_in_words(plan):
            loss = trainer.run_epoch(epoch, on_step)
        scores = trainer.validate()
        seconds = round((time.perf_counter() - started) / tasks, 3)  # each task's share of the epoch
        common = {"lr": trainer.learning_rate, "seconds": seconds}
        metrics: list[EpochMetrics] = [
            {"task": task.name, "epoch": epoch + 1, "train_loss": loss, **scores.get(task.name, {}), **common}
            for task in plan.tasks
        ]
        if trainer.last_layer:
            metrics = [{**line, "penalty": trainer.last_layer.penalties[line["task"]]} for line in metrics]
        history = [*history, *metrics]
        if not ranks.is_main:
            continue

        # Save best before last: a kill between the two repeats the epoch and writes the same best again.
        if keeps_last or rank_epoch(metrics) > best:
            best = rank_epoch(metrics)
            save_checkpoint(folder / "best.safetensors", trainer.kept_network.state_dict(), {"lines": metrics})
        trainer.save(folder / "last.safetensors", history)
        on_epoch_end(history)
    ranks.barrier()  # rank 0 may still be writing the best
    return load_best(plan, folder)


def load_best(plan: Plan, folder: Path) -> nn.Module:
    """The network of `folder/best.safetensors`, in evaluation mode."""
    tensors, _ = load_checkpoint(folder / "best.safetensors")
    network = build_network(plan.model, plan.heads.outputs, pretrained=False)
    network.load_state_dict(tensors)
    return network.eval()


@contextmanager
def _memory_errors_in_words(plan: Plan) -> Generator[None]:
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        batch = plan.train.batch
        raise UsageError(
            f"{plan.name}: the GPU's memory is too small for batches of {batch} photos of "
            f"{plan.model.input[0]}x{plan.model.input[1]} with {plan.model.backbone}.\n"
            f"Use smaller ones, for example with --set train.batch={max(batch // 2, 1)}, or a smaller model.input."
        ) from error


def _mean_f1(metrics: list[EpochMetrics]) -> float:
    """The mean macro-F1 of the tasks after one epoch; -1 when no photo is held out."""
    return _mean([task["macro_f1"] for task in metrics if "macro_f1" in task], otherwise=-1.0)


def _negative_mean_loss(metrics: list[EpochMetrics]) -> float:
    """Minus the mean log loss of the tasks on held-out photos after one epoch: the more, the better."""
    return -_mean([task["loss"] for task in metrics if "loss" in task], otherwise=1e9)


def _mean(values: list[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
