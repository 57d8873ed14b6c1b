"""Batches of augmented inputs in an order that only (seed, epoch) decides.

TrainingSet + Augmenter -> (images, targets) per step.

The epoch is a pure function of (seed, epoch), whatever the number of workers and processes: a training that is resumed
gets the batches that it would have got without the interruption. Each process makes its own part of every step only.
"""

from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache.errors import UsageError
from classify.data.augmentation import Augmenter, SampleDraw, choose_partners, replace_right_half, seed_of_draw
from classify.data.training_set import TrainingSet
from classify.distributed import SINGLE_PROCESS, Ranks
from classify.models.heads import Targets
from classify.preprocessing import Image

MIXUP_ALPHA = 0.4  # of the Beta distribution that the weights are drawn from; 1 would make all weights equally likely


class EpochOfBatches:
    """One epoch; an item is a complete batch, so that mixing within a batch happens in the workers, too.

    Args:
        training_set: what is trained on.
        augmenter: of its tasks.
        batch: samples per step, of all processes; a smaller last batch is left out unless it is the only one.
        seed, epoch: decide order, augmentation and mixing.
        cutmix, mixup: fractions of steps in which halves are swapped, and in which images are blended.
        cutmix_mask: (R,) the rows that other halves are taken from in steps that have some; None for any.
        in_pairs: put two draws of one person side by side.
        ranks: the processes that share every step.

    Raises:
        UsageError: there is no sample in the epoch, or there are more processes than samples in a step.
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
        cutmix_mask: NDArray[np.bool_] | None = None,
        in_pairs: bool = False,
        ranks: Ranks = SINGLE_PROCESS,
    ) -> None:
        self._training_set, self._augmenter, self._ranks = training_set, augmenter, ranks
        self._cutmix, self._mixup, self._cutmix_mask = cutmix, mixup, cutmix_mask
        self._seed, self._epoch = seed, epoch
        draws = augmenter.draw_epoch(training_set.augmentation_groups, seed, epoch, training_set.sampling_weights)
        self._steps = _cut(self._paired(draws) if in_pairs else draws, batch)
        if not self._steps:
            raise UsageError(
                "an epoch has no photo to train on: there is none, or augment.classes and augment.groups give all of "
                "them the multiplier 0"
            )
        smallest = min(map(len, self._steps))
        if smallest < ranks.world_size:
            raise UsageError(
                f"a step of {smallest} photos can't be divided among {ranks.world_size} processes; "
                "start fewer, or raise train.batch where there are more photos"
            )

    def __len__(self) -> int:
        """Steps in the epoch."""
        return len(self._steps)

    @property
    def step_size(self) -> int:
        """Samples in every step, of all processes."""
        return len(self._steps[0])

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """This process's images (N, H, W, 3) uint8 and targets (N, columns) float32 of one step."""
        draws = self._steps[step]
        positions = np.arange(len(draws))[self._ranks.rank_slice].tolist()
        mixing, weights = self._mixing(step)
        if not mixing:
            batch = [self.image_and_targets(draws[i]) for i in positions]
        else:
            candidates = None
            if mixing == "cutmix" and self._cutmix_mask is not None:
                candidates = np.flatnonzero(self._cutmix_mask[[draw.row for draw in draws]])
            partners = choose_partners(len(draws), self._seed, self._epoch, step, candidates).tolist()
            needed = {*positions, *(partners[i] for i in positions)}
            made = {i: self.image_and_targets(draws[i]) for i in needed}
            if mixing == "cutmix":
                batch = [_swap_halves(*made[i], *made[partners[i]]) for i in positions]
            else:
                batch = [_blend(*made[i], *made[partners[i]], weights[i]) for i in positions]
        images, targets = zip(*batch, strict=True)
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(targets))

    def pair_mask(self, step: int) -> Tensor:
        """Which pairs of a step, positions 2i and 2i + 1 among all processes, show one person with one label.

        None where images are mixed, nor for the task whose label a drawn mask changes.

        Returns:
            (N // 2, T) bool.
        """
        training_set = self._training_set
        rows = np.array([draw.row for draw in self._steps[step]])
        first, second = rows[: len(rows) // 2 * 2 : 2], rows[1::2]
        same_person = training_set.person_ids[first] == training_set.person_ids[second]
        codes = training_set.codes
        mask = same_person[:, None] & (codes[first] == codes[second]) & (codes[first] >= 0)
        if training_set.masks and training_set.masks.task >= 0:
            mask[:, training_set.masks.task] = False
        return torch.from_numpy(mask & (not self._mixing(step)[0]))

    def _mixing(self, step: int) -> tuple[Literal["cutmix", "mixup", ""], list[float]]:
        """How the images of a step are mixed, if they are, and the weight of each image itself in a blend."""
        rng = np.random.default_rng([self._seed, self._epoch, step, 1])
        draw = rng.random()
        weights = rng.beta(MIXUP_ALPHA, MIXUP_ALPHA, len(self._steps[step])).tolist()
        if draw < self._cutmix:
            return "cutmix", weights
        return "mixup" if draw < self._cutmix + self._mixup else "", weights

    def _paired(self, draws: list[SampleDraw]) -> list[SampleDraw]:
        """The draws in another random order, with two of one person side by side as far as possible."""
        waiting: dict[int, SampleDraw] = {}
        pairs: list[list[SampleDraw]] = []
        for draw in draws:
            person = int(self._training_set.person_ids[draw.row])
            if person in waiting:
                pairs.append([waiting.pop(person), draw])
            else:
                waiting[person] = draw
        single = list(waiting.values())
        even = len(single) // 2 * 2
        pairs += [single[start : start + 2] for start in range(0, even, 2)]
        order = np.random.default_rng([self._seed, self._epoch, 2]).permutation(len(pairs))
        return [draw for i in order for draw in pairs[i]] + single[even:]

    def image_and_targets(self, draw: SampleDraw) -> tuple[Image, Targets]:
        """The augmented image of one draw, before mixing, and its targets (columns,)."""
        return make_sample(self._training_set, self._augmenter, draw, seed=self._seed, epoch=self._epoch)


def make_sample(
    training_set: TrainingSet, augmenter: Augmenter, draw: SampleDraw, *, seed: int, epoch: int
) -> tuple[Image, Targets]:
    """The augmented image of one draw, with or without a drawn mask, and its targets (columns,)."""
    sample = training_set.rows[draw.row]
    image, targets = np.asarray(training_set.pixels[sample]), training_set.targets[draw.row]
    if training_set.masks:
        rng = np.random.default_rng([seed_of_draw(seed, epoch, draw), 1])
        image, wearing = training_set.masks.draw(image, sample, rng)
        if wearing:
            targets = training_set.worn[wearing][draw.row]
    return augmenter.apply(image, training_set.augmentation_groups[draw.row], draw, seed, epoch), targets


def _swap_halves(image: Image, targets: Targets, other: Image, others: Targets) -> tuple[Image, Targets]:
    """CutMix of two halves, whose targets count the same."""
    return replace_right_half(image, other), ((targets + others) / 2).astype(np.float32)


def _blend(image: Image, targets: Targets, other: Image, others: Targets, weight: float) -> tuple[Image, Targets]:
    """Mixup. Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018."""
    mixed = cv2.addWeighted(image, weight, other, 1 - weight, 0)
    return mixed, (weight * targets + (1 - weight) * others).astype(np.float32)  # pyright: ignore[reportReturnType]


def _cut(draws: list[SampleDraw], batch: int) -> list[list[SampleDraw]]:
    """The draws of each step."""
    steps = [draws[start : start + batch] for start in range(0, len(draws), batch)]
    # A last batch of two or three would move batch norm's statistics as much as a full one.
    return steps[:-1] if len(steps) > 1 and len(steps[-1]) < batch else steps
