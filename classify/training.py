"""Train the network of one task: the loop, written out once, top to bottom.

pixels (N, H, W, 3) uint8 + class indices -> weights with the best validation macro-F1, and a history line per epoch.

The state after every epoch is on disk before the next begins; a training that was killed goes on there and ends with
the metrics of an uninterrupted one, because everything random is a function of (seed, epoch).

Several processes train one network with one batch among them: each does its part of every step, the loss is that of
the whole batch in each, and rank 0 writes.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from cache.config import fingerprint
from cache.errors import BundleError, UsageError
from classify.augment import Augmenter
from classify.batches import EpochOfBatches, steps_in_order
from classify.checkpoint import (
    load_checkpoint,
    optimiser_tensors,
    restore_optimiser,
    save_checkpoint,
    with_prefix,
    without_prefix,
)
from classify.config import TaskConfig
from classify.features import Features, compute_features
from classify.losses import loss_of
from classify.metrics import macro_f1
from classify.networks import build_network, head_of, normalise_of
from classify.optimisation import build_optimiser, build_schedule, precision_of
from classify.prediction import probabilities
from classify.ranks import ALONE, Ranks
from classify.tasks import Task


@dataclass(frozen=True, slots=True)
class TaskData:
    """What one task learns from.

    Attributes:
        pixels: (M, H, W, 3) uint8, one input per sample of the run.
        codes: (M,) class index of every sample, -1 where unlabelled.
        train, validate: rows of `pixels`; `validate` may be empty, then the last epoch's weights are kept.
    """

    pixels: NDArray[np.uint8]
    codes: NDArray[np.intp]
    train: NDArray[np.intp]
    validate: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and how the numbers are crunched; no part of the result's definition."""

    device: str
    workers: int = 0
    ranks: Ranks = ALONE


Line = dict[str, Any]
Report = Callable[[list[Line]], None]


def train_task(
    task: Task, config: TaskConfig, data: TaskData, folder: Path, *, seed: int, machine: Machine, report: Report
) -> nn.Module:
    """Train until `config.train.epochs`, going on from `folder/last.safetensors` when it is there.

    Args:
        task: whose classes are told.
        config: network, training and augmentation.
        data: inputs and labels.
        folder: RUN/TASK; gets last.* and best.*, which all processes must see.
        seed: of everything random.
        machine: device, workers, and this process among others.
        report: called after every epoch with the history so far, one line per epoch; in rank 0 only.

    Returns:
        The best network, on the CPU, in evaluation mode.

    Raises:
        BundleError: the folder's state belongs to other settings or other data.
        UsageError: the loss explodes, or the processes see different folders.
    """
    torch.manual_seed(seed)
    ranks = machine.ranks
    learner = _Learner(task, config, data, seed, machine)
    history = learner.resume(folder / "last.safetensors")
    if len(history) != ranks.from_first(lambda: len(history)):
        raise UsageError(f"{folder} is not what rank 0 sees there: --out must be on a disk that all processes see")
    if history and ranks.is_first:
        report(history)
    best = max((line.get("macro_f1", -1.0) for line in history), default=-1.0)
    for epoch in range(len(history), config.train.epochs):
        started = time.perf_counter()
        loss = learner.run_epoch(epoch)
        line: Line = {"task": task.name, "epoch": epoch + 1, "train_loss": loss, **learner.validate()}
        line["lr"] = learner.learning_rate
        line["seconds"] = round(time.perf_counter() - started, 3)
        history = [*history, line]
        if not ranks.is_first:
            continue
        # Best before last: a kill between the two repeats the epoch and writes the same best again.
        if not len(data.validate) or line["macro_f1"] > best:
            best = line.get("macro_f1", -1.0)
            save_checkpoint(folder / "best.safetensors", learner.kept.state_dict(), {"line": line})
        learner.save(folder / "last.safetensors", history)
        report(history)
    ranks.wait_for_first()  # it may still be writing the best
    return load_best(task, config, folder)


def load_best(task: Task, config: TaskConfig, folder: Path) -> nn.Module:
    """The network of `folder/best.safetensors`, in evaluation mode."""
    tensors, _ = load_checkpoint(folder / "best.safetensors")
    network = build_network(config.model, len(task.classes), pretrained=False)
    network.load_state_dict(tensors)
    return network.eval()


class _Learner:
    """Everything that changes while one task learns."""

    def __init__(self, task: Task, config: TaskConfig, data: TaskData, seed: int, machine: Machine) -> None:
        self._task, self._train, self._data = task, config.train, data
        self._seed, self._machine, self._ranks = seed, machine, machine.ranks
        self._identity = fingerprint(
            {
                "config": config.model_dump(mode="json"),
                "seed": seed,
                "train": data.train.tolist(),
                "validate": data.validate.tolist(),
                "codes": data.codes.tolist(),
            }
        )
        self._codes = data.codes[data.train]
        self._augmenter = Augmenter(task, config.augment, config.model.input)
        self._steps_per_epoch = max(len(self._epoch(0)), 1)
        network = build_network(config.model, len(task.classes), pretrained=True).to(machine.device)
        self._network = self._ranks.synchronised(network, machine.device)
        self._normalise = normalise_of(self._network)
        self._features: Features | None = None
        if self._train.freeze:
            own = compute_features(self._network, self._normalise, data.pixels[self._ranks.own], machine.device)
            self._features = Features(self._ranks.join(own, len(data.pixels)))
        self._forward = self._ranks.side_by_side(head_of(self._network) if self._features else self._network)
        self._ema = ModelEmaV3(self._network, decay=self._train.ema, use_warmup=True) if self._train.ema else None
        self._optimiser = build_optimiser(self._network, self._train)
        self._schedule = build_schedule(self._optimiser, self._train, self._steps_per_epoch)
        self._loss = loss_of(self._train)
        self._precision = precision_of(self._train, machine.device)
        self._scaler = torch.amp.GradScaler(enabled=self._precision == torch.float16)

    @property
    def kept(self) -> nn.Module:
        """The weights that are validated and kept: the average when there is one."""
        return self._ema.module if self._ema else self._network

    @property
    def learning_rate(self) -> float:
        return float(self._optimiser.param_groups[0]["lr"])

    def run_epoch(self, epoch: int) -> float:
        """One pass over the training samples; the mean loss."""
        torch.manual_seed(self._seed * 100_003 + epoch + 2_000_000_011 * self._ranks.rank)  # dropout's draws
        self._network.train(not self._train.freeze)
        losses: list[Tensor] = []
        for step, (inputs, shares) in enumerate(self._inputs(epoch)):
            self._schedule.step_update(epoch * self._steps_per_epoch + step)
            with torch.autocast(self._device_type, self._precision, enabled=self._precision is not torch.float32):
                own = self._forward(inputs).float()
                loss = self._loss(self._ranks.join(own, len(shares)), shares)
            # The parts' gradients add up to the batch's, and what comes back is their mean over the processes.
            self._scaler.scale(loss * self._ranks.world).backward()
            if self._train.clip_norm:
                self._scaler.unscale_(self._optimiser)
                nn.utils.clip_grad_norm_(self._network.parameters(), self._train.clip_norm)
            self._scaler.step(self._optimiser)
            self._scaler.update()
            self._optimiser.zero_grad(set_to_none=True)
            if self._ema:
                self._ema.update(self._network, step=epoch * self._steps_per_epoch + step)
            losses.append(loss.detach())
        self._ranks.share_buffers(self._network, self.kept)
        mean = float(torch.stack(losses).mean())
        if not np.isfinite(mean):
            raise UsageError(
                f"{self._task.name}: the loss is {mean} in epoch {epoch + 1}, so the network has learnt nothing.\n"
                f"Lower the learning rate (now {self._train.lr:g}) with --set train.lr=..., or set train.clip_norm=1."
            )
        return mean

    def validate(self) -> dict[str, float]:
        """Macro-F1, accuracy and loss on the held-out photos; empty when none are held out."""
        rows = self._data.validate
        if not len(rows):
            return {}
        own = rows[self._ranks.own]
        inputs = self._features.rows(own) if self._features else self._data.pixels[own]
        network = head_of(self.kept) if self._features else self.kept
        part = probabilities(network, inputs, None if self._features else self._normalise, self._machine.device)
        part = torch.from_numpy(part.reshape(len(own), len(self._task.classes)))  # also where `own` is empty
        told = self._ranks.join(part, len(rows)).numpy()
        truth = self._data.codes[rows]
        likelihood = np.clip(told[np.arange(len(rows)), truth], 1e-12, 1)
        answers = told.argmax(axis=1)
        return {
            "macro_f1": macro_f1(truth, answers),
            "accuracy": float((answers == truth).mean()),
            "loss": float(-np.log(likelihood).mean()),
        }

    def save(self, path: Path, history: list[Line]) -> None:
        """The whole state after an epoch."""
        slots, groups = optimiser_tensors(self._optimiser)
        tensors = with_prefix("network", self._network.state_dict()) | with_prefix("optimiser", slots)
        if self._ema:
            tensors |= with_prefix("ema", self._ema.module.state_dict())
        values = {"identity": self._identity, "optimiser": groups, "scaler": self._scaler.state_dict()}
        save_checkpoint(path, tensors, {**values, "history": history})

    def resume(self, path: Path) -> list[Line]:
        """Put the state back; returns the history so far, empty when there is no state."""
        if not path.is_file():
            return []
        tensors, values = load_checkpoint(path, self._machine.device)
        if values["identity"] != self._identity:
            raise BundleError(f"{path} belongs to other settings or other photos; train into another folder with --out")
        self._network.load_state_dict(without_prefix("network", tensors))
        restore_optimiser(self._optimiser, without_prefix("optimiser", tensors), values["optimiser"])
        self._scaler.load_state_dict(values["scaler"])
        if self._ema:
            self._ema.module.load_state_dict(without_prefix("ema", tensors))
        return values["history"]

    @property
    def _device_type(self) -> str:
        return torch.device(self._machine.device).type

    def _epoch(self, epoch: int) -> EpochOfBatches:
        return EpochOfBatches(
            self._data.pixels,
            self._data.train,
            self._codes,
            len(self._task.classes),
            self._augmenter,
            batch=self._train.batch,
            cutmix=self._train.cutmix,
            seed=self._seed,
            epoch=epoch,
            ranks=self._ranks,
        )

    def _inputs(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        batches = self._epoch(epoch)
        device = self._machine.device
        if self._features:
            for rows, shares in batches.rows_and_shares():
                yield self._features.tensor[self._data.train[rows]].to(device), shares.to(device)
            return
        pin = self._device_type == "cuda"
        for images, shares in steps_in_order(batches, self._machine.workers, pin=pin):
            yield self._normalise(images.to(device, non_blocking=pin)), shares.to(device, non_blocking=pin)
