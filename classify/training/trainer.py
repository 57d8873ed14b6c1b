"""One network in training: an epoch of steps, validation, and its state on disk.

Several processes train one network with one batch among them: each computes its part of every step, and all have the
loss of the complete batch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from cache.errors import BundleError, UsageError
from classify.data.augmentation import build_augmenter
from classify.data.batches import EpochOfBatches
from classify.data.loader import BatchLoader
from classify.data.training_set import NetworkData
from classify.devices import to_device
from classify.distributed import SINGLE_PROCESS, Ranks
from classify.evaluation.metrics import macro_f1
from classify.inference.calibration import log_loss
from classify.inference.probabilities import frozen_probabilities, probabilities
from classify.models.backbones import build_network, normalise_of, tie_rows
from classify.models.batch_statistics import measure_statistics
from classify.models.frozen_features import FrozenFeatures
from classify.models.network_plan import Plan
from classify.tasks import UNLABELLED
from classify.training import checkpoint
from classify.training.identity import identities
from classify.training.last_layer import LastLayer
from classify.training.optimisation import build_optimiser, build_schedule, precision_of, recipe_of
from classify.training.probe import PROBE_VIEWS, fit_head
from classify.training.weight_averaging import WeightAverage

EpochMetrics = dict[str, Any]  # of one task after one epoch; a line of metrics.jsonl


@dataclass(frozen=True, slots=True)
class EpochProgress:
    """How far an epoch is, after one of its steps or before the first."""

    epoch: int  # from 1
    images: int  # that were trained on in it, by all processes
    total: int  # in the epoch
    loss: Callable[[], float]  # the mean over the steps so far; a GPU has to be waited for


OnStep = Callable[[EpochProgress], None]


@dataclass(frozen=True, slots=True)
class ComputeSetup:
    """What a network is trained on; the definition of the result does not depend on it."""

    device: str  # as torch names it
    workers: int = 0  # processes that make batches; 0 makes them in this one
    ranks: Ranks = SINGLE_PROCESS  # this process among those that train the network together


class Trainer:
    """One network in training, with all state that changes: its weights, their averages and the optimiser."""

    def __init__(
        self, plan: Plan, data: NetworkData, seed: int, compute: ComputeSetup, frozen: FrozenFeatures | None = None
    ) -> None:
        train = plan.train
        self._plan = plan
        self._train = train
        self._heads = plan.heads
        self._seed = seed
        self._frozen = frozen
        self._compute = compute
        self._ranks = compute.ranks
        self._device_type = torch.device(compute.device).type

        # Data.
        self._data = data
        self._training_set = data.training_set(plan.heads)
        cutmix_mask: NDArray[np.bool_] | None = None  # (R,) the samples of `cutmix_with`; None for any
        for column, task in enumerate(plan.tasks):
            if train.cutmix_with in task.classes:
                # By class, not by augmentation group: a photo that a rule puts in a group keeps its class.
                cutmix_mask = data.codes[data.train, column] == task.classes.index(train.cutmix_with)
                break
        make_epoch = partial(
            EpochOfBatches,
            self._training_set,
            build_augmenter(plan, data.margin),
            batch=train.batch,
            cutmix=train.cutmix,
            mixup=train.mixup,
            cutmix_mask=cutmix_mask,
            in_pairs=train.consistency > 0,
            seed=seed,
            ranks=self._ranks,
        )
        self._loader = BatchLoader(make_epoch, train.epochs, compute.workers, pin=self._device_type == "cuda")
        self._steps_per_epoch = len(self._loader.epoch(0))
        self._identity, self._identity_before = identities(plan, data, self._training_set.targets, seed)

        # Network.
        network = build_network(plan.model, plan.heads.outputs, pretrained=True).to(compute.device)
        tie_rows(network, plan.heads.tied)
        # Before a probe, so that steps, which normalise by statistics of these photos, start from the fitted features.
        if train.probe or (getattr(network, "lacks_statistics", False) and not train.freeze):
            measure_statistics(network, normalise_of(network), data.pixels, data.train, compute.device)
        self._network = self._ranks.with_sync_batch_norm(network, compute.device)
        self._normalise = normalise_of(self._network)
        self.last_layer: LastLayer | None = None  # of a frozen backbone, once it is fitted
        forward = self._network if train.freeze else self._ranks.data_parallel(self._network)
        if train.compile:
            # torch compiles a function for a few networks only, the later ones more slowly, then none without a word.
            torch.compiler.reset()
            forward = torch.compile(forward, dynamic=False)
        self._forward = forward

        # Averages of the weights, over steps and over the last epochs.
        has_steps = not train.freeze
        self._ema = ModelEmaV3(self._network, decay=train.ema, use_warmup=True) if train.ema and has_steps else None
        self._weight_average = WeightAverage(network, train.soup, train.epochs) if train.soup and has_steps else None

        # Optimiser.
        self._optimiser = build_optimiser(self._network, train)
        self._schedule = build_schedule(self._optimiser, train, self._steps_per_epoch)
        self._precision = precision_of(train, compute.device)
        self._scaler = torch.amp.GradScaler(self._device_type, enabled=self._precision == torch.float16)

    @property
    def kept_network(self) -> nn.Module:
        """The network that is validated and kept: the average over the last epochs, over steps, or the network."""
        return (self._weight_average.network if self._weight_average else None) or self._step_average

    @property
    def _step_average(self) -> nn.Module:
        """The moving average over steps where there is one, otherwise the network itself."""
        return self._ema.module if self._ema else self._network

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last step; 0 if no step is made."""
        return 0.0 if self._train.freeze else float(self._optimiser.param_groups[0]["lr"])

    def probe(self) -> None:
        """Fit the last layer, from which a training of all layers starts.

        Raises:
            UsageError: the last layer is not linear, or a feature is not finite.
        """
        self._fit_last_layer(PROBE_VIEWS)
        if self._ema:
            self._ema.set(self._network)

    def _fit_last_layer(self, views: int) -> LastLayer:
        compute = self._compute
        return fit_head(
            self._network, self._plan, self._data, views=views, seed=self._seed,
            device=compute.device, workers=compute.workers, ranks=compute.ranks, frozen=self._frozen,
        )  # fmt: skip

    def run_epoch(self, epoch: int, on_step: OnStep | None = None) -> float:
        """Make one pass over the training samples, and return the mean loss of its steps.

        With a frozen backbone, the pass is the fit of the last layer, and no step is reported.

        Args:
            epoch: from 0.
            on_step: called before the first step and after each one.

        Raises:
            UsageError: the loss is not finite.
        """
        if self._train.freeze:
            self.last_layer = self._fit_last_layer(self._train.views)
            return self.last_layer.loss
        torch.manual_seed(self._seed * 100_003 + epoch + 2_000_000_011 * self._ranks.rank)  # for dropout
        self._network.train()
        losses: list[Tensor] = []
        batches = self._loader.epoch(epoch)
        total = len(batches) * batches.step_size

        def report(images: int) -> None:
            if on_step:
                on_step(EpochProgress(epoch + 1, images, total, lambda: float(torch.stack(losses).mean())))

        report(0)
        for step, (inputs, targets) in enumerate(self._inputs(epoch)):
            update = epoch * self._steps_per_epoch + step
            self._schedule.step_update(update)

            # Forward: this process's part of the batch.
            with torch.autocast(self._device_type, self._precision, enabled=self._precision is not torch.float32):
                logits = self._forward(inputs).float()

            # Loss of the complete batch, in every process: soft F1 is no mean over samples.
            logits = self._ranks.all_gather(logits, batches.step_size)
            loss = self._heads.loss(logits, self._ranks.all_gather(targets, batches.step_size))
            if self._train.consistency:
                disagreement = self._heads.disagreement(logits, batches.pair_mask(step))
                loss = loss + self._train.consistency * disagreement
            losses.append(loss.detach())

            # Backward. The batch's gradient is the sum over the processes, but DistributedDataParallel takes the mean.
            self._scaler.scale(loss * self._ranks.world_size).backward()
            if self._train.clip_norm:
                self._scaler.unscale_(self._optimiser)
                nn.utils.clip_grad_norm_(self._network.parameters(), self._train.clip_norm)

            # Update the weights and their moving average.
            self._scaler.step(self._optimiser)
            self._scaler.update()
            self._optimiser.zero_grad(set_to_none=True)
            if self._ema:
                self._ema.update(self._network, step=update)
            report((step + 1) * batches.step_size)
        self._ranks.broadcast_buffers(self._network, self._step_average)

        mean_loss = float(torch.stack(losses).mean())
        if not np.isfinite(mean_loss):
            raise UsageError(
                f"{self._plan.name}: the loss is {mean_loss} in epoch {epoch + 1}, so it learned nothing.\n"
                f"Lower the learning rate (now {self._train.lr:g}) with --set train.lr=..., or set train.clip_norm=1."
            )
        if self._weight_average:
            self._weight_average.add(self._step_average, epoch)
        return mean_loss

    def validate(self) -> dict[str, dict[str, float]]:
        """Macro-F1, accuracy and loss of every task on the held-out photos; empty when none are held out."""
        rows = self._data.validate
        if not len(rows):
            return {}

        # Predict this process's part of the photos, which are read batch by batch.
        rank_rows = rows[self._ranks.rank_slice]
        network, pixels, device = self.kept_network, self._data.pixels, self._compute.device
        if self._frozen:
            parts = frozen_probabilities(network, self._heads, pixels, self._frozen, device, flip=False, rows=rank_rows)
        else:
            parts = probabilities(network, self._heads, pixels, self._normalise, device, rows=rank_rows)

        # Score each task on the labelled photos of all processes.
        scores: dict[str, dict[str, float]] = {}
        for column, (task, part) in enumerate(zip(self._plan.tasks, parts, strict=True)):
            predicted = self._ranks.all_gather(torch.from_numpy(part), len(rows)).numpy()
            true_codes = self._data.codes[rows, column]
            labelled = true_codes != UNLABELLED
            if not labelled.any():
                continue
            predicted, true_codes = predicted[labelled], true_codes[labelled]
            answers = predicted.argmax(axis=1)
            scores[task.name] = {
                "macro_f1": macro_f1(true_codes, answers),
                "accuracy": float((answers == true_codes).mean()),
                "loss": log_loss(predicted, true_codes),
            }
        return scores

    def save(self, path: Path, history: list[EpochMetrics]) -> None:
        """Write the complete state after an epoch."""
        slots, optimiser = checkpoint.optimiser_tensors(self._optimiser)
        tensors = {"network": self._network.state_dict(), "optimiser": slots}
        if self._ema:
            tensors["ema"] = self._ema.module.state_dict()
        if self._weight_average:
            tensors["soup"] = self._weight_average.tensors()
        values = {
            "identity": self._identity,
            "recipe": recipe_of(self._train),
            "optimiser": optimiser,
            "scaler": self._scaler.state_dict(),
            "history": history,
        }
        checkpoint.save_checkpoint(path, checkpoint.flatten(tensors), values)

    def resume(self, path: Path) -> list[EpochMetrics]:
        """Restore the state that `save` wrote, and return the history so far; empty when there is no file.

        Raises:
            BundleError: the file is damaged, or belongs to other settings, other data or another version's recipe.
        """
        if not path.is_file():
            return []
        flat, values = checkpoint.load_checkpoint(path)
        if values["identity"] not in (self._identity, self._identity_before):
            raise BundleError(f"{path} belongs to other settings or other photos; train into another folder with --out")
        is_current = values.get("recipe") == recipe_of(self._train)
        passes = self._train.passes if is_current else self._train.epochs  # a frozen backbone had epochs, too
        if len(values["history"]) == passes * len(self._plan.tasks):
            return values["history"]  # finished: only the kept weights are read, from their own file
        if not is_current:
            raise BundleError(
                f"{path} was begun by another version of faceline, which trains differently; train into another folder "
                "with --out"
            )
        tensors = checkpoint.unflatten(flat)
        self._network.load_state_dict(tensors["network"])
        checkpoint.restore_optimiser(self._optimiser, tensors["optimiser"], values["optimiser"])
        if values["scaler"]:  # a device without fp16 saved none
            self._scaler.load_state_dict(values["scaler"])
        if self._ema:
            self._ema.module.load_state_dict(tensors["ema"])
        if self._weight_average:
            epochs_done = len(values["history"]) // len(self._plan.tasks)
            self._weight_average.restore(tensors["soup"], self._step_average, epochs_done)
        return values["history"]

    def _inputs(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this process's normalised images and targets of each step, on the device."""
        device = self._compute.device
        for images, targets in self._loader.batches(epoch):
            yield self._normalise(to_device(images, device)), to_device(targets, device)
