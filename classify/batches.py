"""Batches of augmented inputs in an order that only (seed, epoch) decides.

pixels (N, H, W, 3) uint8 + codes -> (images, class shares) per step.

The whole epoch is a pure function of (seed, epoch), whatever the number of workers and processes: a resumed training
sees what the uninterrupted one would have seen. Of every step, a process makes the images of its own part only.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cache.errors import UsageError
from classify.augment import Augmenter, Turn, partners, with_right_half
from classify.losses import class_shares
from classify.ranks import ALONE, Ranks


class EpochOfBatches(Dataset[tuple[Tensor, Tensor]]):
    """One epoch, a batch an item, so that mixing within a batch happens in the workers too.

    Args:
        pixels: (M, H, W, 3) uint8, inputs of all samples; only `rows` of them are read.
        rows: the samples that are trained on.
        codes: class index of each of `rows`.
        classes: number of classes.
        augmenter: of the task.
        batch: samples per step, of all processes; a smaller last batch is left out unless it is the only one.
        cutmix: share of batches whose halves are swapped.
        seed, epoch: decide order, augmentation and mixing.
        ranks: whose part of every step is made.

    Raises:
        UsageError: there are more processes than samples in a step.
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        rows: NDArray[np.intp],
        codes: NDArray[np.intp],
        classes: int,
        augmenter: Augmenter,
        *,
        batch: int,
        cutmix: float,
        seed: int,
        epoch: int,
        ranks: Ranks = ALONE,
    ) -> None:
        self._pixels, self._rows, self._codes, self._classes = pixels, rows, codes, classes
        self._augmenter, self._cutmix, self._seed, self._epoch = augmenter, cutmix, seed, epoch
        self._steps, self._ranks = _cut(augmenter.epoch(codes.tolist(), seed, epoch), batch), ranks
        smallest = min(map(len, self._steps), default=ranks.world)
        if smallest < ranks.world:
            raise UsageError(
                f"a step of {smallest} photos can't be divided among {ranks.world} processes; "
                "start fewer, or raise train.batch where there are more photos"
            )

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Of one step, the own images (N, H, W, 3) uint8, and the class shares (B, C) float32 of all."""
        turns = self._steps[step]
        shares = np.eye(self._classes, dtype=np.float32)[[self._codes[turn.row] for turn in turns]]
        own = np.arange(len(turns))[self._ranks.own]
        if np.random.default_rng([self._seed, self._epoch, step, 1]).random() >= self._cutmix:
            images = [self._image(turns[i]) for i in own]
        else:
            other = partners(len(turns), self._seed, self._epoch, step)
            made = {i: self._image(turns[i]) for i in {*own.tolist(), *other[own].tolist()}}
            images = [with_right_half(made[i], made[j]) for i, j in zip(own, other[own], strict=True)]
            shares = (shares + shares[other]) / 2
        return torch.from_numpy(np.stack(images)), torch.from_numpy(shares)

    def rows_and_shares(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Per step, which of `rows` are the own ones, and all class shares, for training that reads no pixels."""
        for turns in self._steps:
            rows = torch.tensor([turn.row for turn in turns])
            yield rows[self._ranks.own], class_shares(torch.from_numpy(self._codes)[rows], self._classes)

    def _image(self, turn: Turn) -> NDArray[np.uint8]:
        image = np.asarray(self._pixels[self._rows[turn.row]])
        return self._augmenter.apply(image, int(self._codes[turn.row]), turn, self._seed, self._epoch)


def steps_in_order(epoch: EpochOfBatches, workers: int, *, pin: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """The epoch's batches, made ahead by `workers` processes (0: in this one)."""
    return iter(DataLoader(epoch, batch_size=None, num_workers=workers, pin_memory=pin))


def _cut(turns: list[Turn], batch: int) -> list[list[Turn]]:
    steps = [turns[start : start + batch] for start in range(0, len(turns), batch)]
    # A last batch of two or three would move batch norm's statistics as much as a full one.
    return steps[:-1] if len(steps) > 1 and len(steps[-1]) < batch else steps
