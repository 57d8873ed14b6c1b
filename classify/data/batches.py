"""Batches of augmented inputs in an order that only (seed, epoch) decides.

lessons + augmentation -> (images, targets) per step.

The whole epoch is a pure function of (seed, epoch), whatever the number of workers and processes: a resumed training
sees what the uninterrupted one would have seen. Of every step, a process makes the images of its own part only.
"""

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cache.errors import UsageError
from classify.data.augmentation import Augmenter, Turn, partners, stream, with_right_half
from classify.data.training_set import TrainingSet
from classify.distributed import SINGLE_PROCESS, Ranks
from classify.models.heads import Targets
from classify.preprocessing import Image

BLENDS = 0.4  # of the Beta distribution that a blend's shares are drawn from; 1 would make all equally likely


class EpochOfBatches(Dataset[tuple[Tensor, Tensor]]):
    """One epoch, a batch an item, so that mixing within a batch happens in the workers too.

    Args:
        lessons: what is trained on.
        augmenter: of the tasks.
        batch: samples per step, of all processes; a smaller last batch is left out unless it is the only one.
        cutmix, mixup: shares of batches whose halves are swapped, and whose images are blended.
        in_pairs: two showings of one person come one after the other.
        halves_of: (R,) the rows that other halves are taken from where a step has some; None for any.
        seed, epoch: decide order, augmentation and mixing.
        ranks: whose part of every step is made.

    Raises:
        UsageError: there are more processes than samples in a step.
    """

    def __init__(
        self,
        training_set: TrainingSet,
        augmenter: Augmenter,
        *,
        batch: int,
        seed: int,
        epoch: int,
        cutmix: float = 0.0,
        mixup: float = 0.0,
        halves_of: NDArray[np.bool_] | None = None,
        in_pairs: bool = False,
        ranks: Ranks = SINGLE_PROCESS,
    ) -> None:
        self._training_set, self._augmenter, self._halves_of = training_set, augmenter, halves_of
        self._cutmix, self._mixup = cutmix, mixup
        self._seed, self._epoch, self._ranks = seed, epoch, ranks
        turns = augmenter.epoch(training_set.kinds, seed, epoch, training_set.sampling_weights)
        self._steps = _cut(self._paired(turns) if in_pairs else turns, batch)
        smallest = min(map(len, self._steps), default=ranks.world)
        if smallest < ranks.world:
            raise UsageError(
                f"a step of {smallest} photos can't be divided among {ranks.world} processes; "
                "start fewer, or raise train.batch where there are more photos"
            )

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def step_size(self) -> int:
        """Samples in every step, of all processes."""
        return len(self._steps[0])

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """The own images (N, H, W, 3) uint8 and targets (N, T) float32 of one step."""
        turns = self._steps[step]
        own = np.arange(len(turns))[self._ranks.own].tolist()
        mixing, kept = self._mixing(step)
        if not mixing:
            shown = [self.shown(turns[i]) for i in own]
        else:
            halves = mixing == "halves"
            wanted = self._wanted(turns) if halves else None
            other = partners(len(turns), self._seed, self._epoch, step, wanted).tolist()
            made = {i: self.shown(turns[i]) for i in {*own, *(other[i] for i in own)}}
            shown = [
                _halved(*made[i], *made[other[i]]) if halves else _blended(*made[i], *made[other[i]], kept[i])
                for i in own
            ]
        return torch.from_numpy(np.stack([image for image, _ in shown])), torch.from_numpy(
            np.stack([t for _, t in shown])
        )

    def rows_and_targets(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Per step, the own samples and their targets, for training that reads no pixels."""
        for turns in self._steps:
            rows = np.array([turn.row for turn in turns])[self._ranks.own]
            yield torch.from_numpy(self._training_set.rows[rows]), torch.from_numpy(self._training_set.targets[rows])

    def alike(self, step: int) -> Tensor:
        """Which of a step's pairs, rows 2i and 2i + 1 of all processes, show one person with one label.

        Nobody where images are mixed, and not for the task whose label a drawn mask changes.

        Returns:
            (N // 2, T) bool.
        """
        rows = np.array([turn.row for turn in self._steps[step]])
        first, second = rows[: len(rows) // 2 * 2 : 2], rows[1::2]
        people, codes = self._training_set.people, self._training_set.codes
        same = (people[first] == people[second])[:, None] & (codes[first] == codes[second]) & (codes[first] >= 0)
        if self._training_set.masks and self._training_set.masks.task >= 0:
            same[:, self._training_set.masks.task] = False
        return torch.from_numpy(same & (not self._mixing(step)[0]))

    def _mixing(self, step: int) -> tuple[str, list[float]]:
        """How a step's images are mixed, if they are, and the share that each keeps of itself in a blend."""
        rng = np.random.default_rng([self._seed, self._epoch, step, 1])
        draw, kept = rng.random(), rng.beta(BLENDS, BLENDS, len(self._steps[step])).tolist()
        return "halves" if draw < self._cutmix else "blends" if draw < self._cutmix + self._mixup else "", kept

    def _paired(self, turns: list[Turn]) -> list[Turn]:
        """The turns in an order in which a person's come in twos, as far as they go."""
        waiting: dict[int, Turn] = {}
        twos: list[list[Turn]] = []
        for turn in turns:
            person = int(self._training_set.people[turn.row])
            if person in waiting:
                twos.append([waiting.pop(person), turn])
            else:
                waiting[person] = turn
        alone = list(waiting.values())
        twos += [alone[start : start + 2] for start in range(0, len(alone) // 2 * 2, 2)]
        order = np.random.default_rng([self._seed, self._epoch, 2]).permutation(len(twos))
        return [turn for i in order for turn in twos[i]] + alone[len(alone) // 2 * 2 :]

    def _wanted(self, turns: list[Turn]) -> NDArray[np.intp] | None:
        if self._halves_of is None:
            return None
        return np.flatnonzero(self._halves_of[[turn.row for turn in turns]])

    def shown(self, turn: Turn) -> tuple[Image, Targets]:
        """The image of one showing and what is learnt from it."""
        training_set, sample = self._training_set, self._training_set.rows[turn.row]
        image, targets = np.asarray(training_set.pixels[sample]), training_set.targets[turn.row]
        if training_set.masks:
            rng = np.random.default_rng([stream(self._seed, self._epoch, turn), 1])
            image, wearing = training_set.masks.draw(image, sample, rng)
            if wearing:
                targets = training_set.worn[wearing][turn.row]
        return self._augmenter.apply(image, training_set.kinds[turn.row], turn, self._seed, self._epoch), targets


def steps_in_order(epoch: EpochOfBatches, workers: int, *, pin: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """The epoch's batches, made ahead by `workers` processes (0: in this one)."""
    return iter(DataLoader(epoch, batch_size=None, num_workers=workers, pin_memory=pin))


def _halved(image: Image, targets: Targets, other: Image, others: Targets) -> tuple[Image, Targets]:
    return with_right_half(image, other), ((targets + others) / 2).astype(np.float32)


def _blended(image: Image, targets: Targets, other: Image, others: Targets, kept: float) -> tuple[Image, Targets]:
    """Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018."""
    mixed = cv2.addWeighted(image, kept, other, 1 - kept, 0)
    return mixed, (kept * targets + (1 - kept) * others).astype(np.float32)  # pyright: ignore[reportReturnType]


def _cut(turns: list[Turn], batch: int) -> list[list[Turn]]:
    steps = [turns[start : start + batch] for start in range(0, len(turns), batch)]
    # A last batch of two or three would move batch norm's statistics as much as a full one.
    return steps[:-1] if len(steps) > 1 and len(steps[-1]) < batch else steps
