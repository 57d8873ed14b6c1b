"""Train one network: the loop, written out once, top to bottom.

lessons -> weights of the best or the last epoch, and a history line per epoch and task.

The state after every epoch is on disk before the next begins; a training that was killed goes on there and ends with
the metrics of an uninterrupted one, because everything random is a function of (seed, epoch).

Several processes train one network with one batch among them: each does its part of every step, the loss is that of
the whole batch in each, and rank 0 writes.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from cache.config import fingerprint
from cache.errors import BundleError, UsageError
from classify.allocator import keep_freed_memory
from classify.data.augmentation import augmenter_of
from classify.data.batches import EpochOfBatches, steps_in_order
from classify.data.training_set import NetworkData
from classify.distributed import SINGLE_PROCESS, Ranks
from classify.evaluation.metrics import macro_f1
from classify.inference.probabilities import probabilities
from classify.models.backbones import build_network, head_of, normalise_of, tie_rows
from classify.models.frozen_features import Features, compute_features
from classify.models.plan import Plan
from classify.tasks import UNLABELLED
from classify.training.checkpoint import (
    load_checkpoint,
    optimiser_tensors,
    restore_optimiser,
    save_checkpoint,
    with_prefix,
    without_prefix,
)
from classify.training.optimisation import build_optimiser, build_schedule, precision_of
from classify.training.weight_averaging import WeightAverage


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and how the numbers are crunched; no part of the result's definition."""

    device: str
    workers: int = 0
    ranks: Ranks = SINGLE_PROCESS


Line = dict[str, Any]
Report = Callable[[list[Line]], None]


def train_network(
    plan: Plan, data: NetworkData, folder: Path, *, seed: int, machine: Machine, report: Report
) -> nn.Module:
    """Train until `plan.train.epochs`, going on from `folder/last.safetensors` when it is there.

    Args:
        plan: what the network tells, and its settings.
        data: inputs and labels.
        folder: RUN/NAME; gets last.* and best.*, which all processes must see.
        seed: of everything random.
        machine: device, workers, and this process among others.
        report: called after every epoch with the history so far, one line per epoch and task; in rank 0 only.

    Returns:
        The kept network, on the CPU, in evaluation mode.

    Raises:
        BundleError: the folder's state belongs to other settings or other data.
        UsageError: the loss explodes, or the processes see different folders.
    """
    torch.manual_seed(seed)
    if machine.device == "cpu":
        keep_freed_memory()
    ranks = machine.ranks
    learner = Trainer(plan, data, seed, machine)
    history = learner.resume(folder / "last.safetensors")
    if len(history) != ranks.broadcast(lambda: len(history)):
        raise UsageError(f"{folder} is not what rank 0 sees there: --out must be on a disk that all processes see")
    if history and ranks.is_first:
        report(history)
    keeps_last = plan.train.keep == "last" or not len(data.validate)
    best = max((_mean_f1(lines) for lines in _epochs(history, plan)), default=-1.0)
    for epoch in range(len(history) // len(plan.tasks), plan.train.epochs):
        started = time.perf_counter()
        loss, scores = learner.run_epoch(epoch), learner.validate()
        lasted = round((time.perf_counter() - started) / len(plan.tasks), 3)  # each task's share of the epoch
        told = {"lr": learner.learning_rate, "seconds": lasted}
        lines: list[Line] = [
            {"task": task.name, "epoch": epoch + 1, "train_loss": loss, **scores.get(task.name, {}), **told}
            for task in plan.tasks
        ]
        history = [*history, *lines]
        if not ranks.is_first:
            continue
        # Best before last: a kill between the two repeats the epoch and writes the same best again.
        if keeps_last or _mean_f1(lines) > best:
            best = _mean_f1(lines)
            save_checkpoint(folder / "best.safetensors", learner.kept.state_dict(), {"lines": lines})
        learner.save(folder / "last.safetensors", history)
        report(history)
    ranks.barrier()  # it may still be writing the best
    return load_best(plan, folder)


def load_best(plan: Plan, folder: Path) -> nn.Module:
    """The network of `folder/best.safetensors`, in evaluation mode."""
    tensors, _ = load_checkpoint(folder / "best.safetensors")
    network = build_network(plan.model, plan.heads.outputs, pretrained=False)
    network.load_state_dict(tensors)
    return network.eval()


def _epochs(history: list[Line], plan: Plan) -> list[list[Line]]:
    tasks = len(plan.tasks)
    return [history[start : start + tasks] for start in range(0, len(history), tasks)]


def _mean_f1(lines: list[Line]) -> float:
    told = [line["macro_f1"] for line in lines if "macro_f1" in line]
    return sum(told) / len(told) if told else -1.0


class Trainer:
    """Everything that changes while one network learns."""

    def __init__(self, plan: Plan, data: NetworkData, seed: int, machine: Machine) -> None:
        self._plan, self._train, self._data, self._heads = plan, plan.train, data, plan.heads
        self._seed, self._machine, self._ranks = seed, machine, machine.ranks
        self._training_set = data.training_set(plan.heads)
        self._identity = fingerprint(
            {
                "configs": [config.model_dump(mode="json") for config in plan.configs],
                "seed": seed,
                "train": data.train.tolist(),
                "validate": data.validate.tolist(),
                "codes": data.codes.tolist(),
                "targets": hashlib.sha256(self._training_set.targets.tobytes()).hexdigest(),
            }
        )
        self._augmenter = augmenter_of(plan)
        self._steps_per_epoch = max(len(self._epoch(0)), 1)
        network = build_network(plan.model, plan.heads.outputs, pretrained=True).to(machine.device)
        tie_rows(network, plan.heads.tied)
        self._network = self._ranks.with_sync_batch_norm(network, machine.device)
        self._normalise = normalise_of(self._network)
        self._features: Features | None = None
        if self._train.freeze:
            own = compute_features(self._network, self._normalise, data.pixels[self._ranks.own], machine.device)
            self._features = Features(self._ranks.join(own, len(data.pixels)))
        forward = self._ranks.data_parallel(head_of(self._network) if self._features else self._network)
        self._forward = torch.compile(forward) if self._train.compile else forward
        self._ema = ModelEmaV3(self._network, decay=self._train.ema, use_warmup=True) if self._train.ema else None
        self._weight_average = (
            WeightAverage(network, self._train.soup, self._train.epochs) if self._train.soup else None
        )
        self._optimiser = build_optimiser(self._network, self._train)
        self._schedule = build_schedule(self._optimiser, self._train, self._steps_per_epoch)
        self._precision = precision_of(self._train, machine.device)
        self._scaler = torch.amp.GradScaler(enabled=self._precision == torch.float16)

    @property
    def kept(self) -> nn.Module:
        """The weights that are validated and kept: the average when there is one, of the last epochs or of steps."""
        return (self._weight_average.network if self._weight_average else None) or self._averaged

    @property
    def _averaged(self) -> nn.Module:
        return self._ema.module if self._ema else self._network

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last step."""
        return float(self._optimiser.param_groups[0]["lr"])

    def run_epoch(self, epoch: int) -> float:
        """One pass over the training samples; the mean loss."""
        torch.manual_seed(self._seed * 100_003 + epoch + 2_000_000_011 * self._ranks.rank)  # dropout's draws
        self._network.train(not self._train.freeze)
        losses: list[Tensor] = []
        batches = self._epoch(epoch)
        for step, (inputs, targets) in enumerate(self._inputs(batches)):
            self._schedule.step_update(epoch * self._steps_per_epoch + step)
            with torch.autocast(self._device_type, self._precision, enabled=self._precision is not torch.float32):
                own = self._forward(inputs).float()
            # Soft F1 is no mean over samples: everyone has the loss of the whole batch.
            told, wanted = (self._ranks.join(part, batches.step_size) for part in (own, targets))
            loss = self._heads.loss(told, wanted)
            if self._train.consistency:
                alike = batches.alike(step).to(told.device)
                loss = loss + self._train.consistency * self._heads.disagreement(told, alike)
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
        self._ranks.broadcast_buffers(self._network, self._averaged)
        mean = float(torch.stack(losses).mean())
        if not np.isfinite(mean):
            raise UsageError(
                f"{self._plan.name}: the loss is {mean} in epoch {epoch + 1}, so the network has learnt nothing.\n"
                f"Lower the learning rate (now {self._train.lr:g}) with --set train.lr=..., or set train.clip_norm=1."
            )
        if self._weight_average:
            self._weight_average.add(self._averaged, epoch)
        return mean

    def validate(self) -> dict[str, dict[str, float]]:
        """Macro-F1, accuracy and loss of every task on the held-out photos; empty when none are held out."""
        rows = self._data.validate
        if not len(rows):
            return {}
        own = rows[self._ranks.own]
        inputs = self._features.rows(own) if self._features else self._data.pixels[own]
        network = head_of(self.kept) if self._features else self.kept
        normalise = None if self._features else self._normalise
        parts = probabilities(network, self._heads, inputs, normalise, self._machine.device)
        scores: dict[str, dict[str, float]] = {}
        for index, (task, part) in enumerate(zip(self._plan.tasks, parts, strict=True)):
            told = self._ranks.join(torch.from_numpy(part), len(rows)).numpy()
            truth = self._data.codes[rows, index]
            told, truth = told[truth != UNLABELLED], truth[truth != UNLABELLED]
            if not len(truth):
                continue
            likelihood = np.clip(told[np.arange(len(truth)), truth], 1e-12, 1)
            answers = told.argmax(axis=1)
            scores[task.name] = {
                "macro_f1": macro_f1(truth, answers),
                "accuracy": float((answers == truth).mean()),
                "loss": float(-np.log(likelihood).mean()),
            }
        return scores

    def save(self, path: Path, history: list[Line]) -> None:
        """The whole state after an epoch."""
        slots, groups = optimiser_tensors(self._optimiser)
        tensors = with_prefix("network", self._network.state_dict()) | with_prefix("optimiser", slots)
        if self._ema:
            tensors |= with_prefix("ema", self._ema.module.state_dict())
        if self._weight_average:
            tensors |= with_prefix("soup", self._weight_average.tensors())
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
        if values["scaler"]:  # a device without fp16 saved none
            self._scaler.load_state_dict(values["scaler"])
        if self._ema:
            self._ema.module.load_state_dict(without_prefix("ema", tensors))
        if self._weight_average:
            done = len(values["history"]) // len(self._plan.tasks)
            self._weight_average.restore(without_prefix("soup", tensors), self._averaged, done)
        return values["history"]

    @property
    def _device_type(self) -> str:
        return torch.device(self._machine.device).type

    def _epoch(self, epoch: int) -> EpochOfBatches:
        return EpochOfBatches(
            self._training_set,
            self._augmenter,
            batch=self._train.batch,
            cutmix=self._train.cutmix,
            mixup=self._train.mixup,
            halves_of=self._halves_of,
            in_pairs=self._train.consistency > 0,
            seed=self._seed,
            epoch=epoch,
            ranks=self._ranks,
        )

    @cached_property
    def _halves_of(self) -> NDArray[np.bool_] | None:
        name = self._train.cutmix_with
        for index, task in enumerate(self._plan.tasks):
            if name in task.classes:
                # By class, not by kind: a rule's photos are of their class still.
                return self._data.codes[self._data.train, index] == task.classes.index(name)
        return None  # a class of another network's task, or any

    def _inputs(self, batches: EpochOfBatches) -> Iterator[tuple[Tensor, Tensor]]:
        device = self._machine.device
        if self._features:
            for rows, targets in batches.rows_and_targets():
                yield self._features.tensor[rows].to(device), targets.to(device)
            return
        pin = self._device_type == "cuda"
        for images, targets in steps_in_order(batches, self._machine.workers, pin=pin):
            yield self._normalise(images.to(device, non_blocking=pin)), targets.to(device, non_blocking=pin)
