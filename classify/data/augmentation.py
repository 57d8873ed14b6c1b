"""Augmentation and oversampling per class, as the config says.

augmentation group and copy number -> a list of albumentations transforms; image and seed -> augmented image.

The augmented image is a pure function of (seed, epoch, sample, copy). Without a seed of its own, albumentations draws
from one stream per process, and forked DataLoader workers all draw the same (2.0.8 repeats every worker and every
epoch).
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from classify.config import AugmentConfig
from classify.data.transforms import BuiltTransform, build_transforms, compose
from classify.models.network_plan import Plan
from classify.preprocessing import Image, Margin, margin_of
from classify.tasks import Task

if TYPE_CHECKING:
    import albumentations as A

Groups = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class SampleDraw:
    """One appearance of one sample in an epoch."""

    row: int  # index of the sample in the training set
    copy: int  # 0 for the first appearance, 1 ... for the oversampled ones


class Augmenter:
    """The augmentation and oversampling of the samples that one network is trained on.

    A sample has one augmentation group per task: its class index or, counted on after the classes, the index of the
    group in `augment.groups` whose rule chose it; -1 without a label.

    Args:
        tasks: that the network predicts.
        configs: transforms and multipliers of each task; `every` is the first one's.
        size: (height, width) of the results.
        margin: of the surroundings in the images to augment.

    Raises:
        UsageError: albumentations has no such transform, the transform does not take these arguments, or what it
            leaves can't be trained on.
    """

    def __init__(
        self, tasks: Sequence[Task], configs: Sequence[AugmentConfig], size: tuple[int, int], margin: Margin = (0, 0)
    ) -> None:
        self._size = size
        every = build_transforms(f"tasks.{tasks[0].name}.augment.every", configs[0].every)
        self._first = compose(every, size, margin)
        self._by_task = [
            _TaskAugmentation(task, config, every, size, margin) for task, config in zip(tasks, configs, strict=True)
        ]
        self.is_geometric = any(built.is_geometric for built in every) or any(t.is_geometric for t in self._by_task)

    def draw_epoch(
        self, augmentation_groups: Groups, seed: int, epoch: int, sampling_weights: NDArray[np.float64] | None = None
    ) -> list[SampleDraw]:
        """Each sample as many times as `multipliers` says, in random order.

        Args:
            augmentation_groups: (R, T) of the training set.
            seed, epoch: decide the order.
            sampling_weights: (R,) probabilities; with them, as many samples in all are drawn with replacement instead.
        """
        times = self.multipliers(augmentation_groups)
        rng = np.random.default_rng([seed, epoch])
        if sampling_weights is None:
            draws = [SampleDraw(row, copy) for row, uses in enumerate(times.tolist()) for copy in range(uses)]
            return [draws[i] for i in rng.permutation(len(draws))]
        rows = rng.choice(len(augmentation_groups), size=int(times.sum()), p=sampling_weights).tolist()
        copies: defaultdict[int, Iterator[int]] = defaultdict(count)
        return [SampleDraw(row, next(copies[row])) for row in rows]

    def multipliers(self, augmentation_groups: Groups) -> NDArray[np.intp]:
        """(R, T) -> (R,) how many times each sample appears in an epoch: the largest multiplier among its tasks."""
        per_task = [task.multipliers(augmentation_groups[:, i]) for i, task in enumerate(self._by_task)]
        return np.max(per_task, axis=0)

    def apply(self, image: Image, augmentation_groups: Groups, draw: SampleDraw, seed: int, epoch: int) -> Image:
        """RGB uint8 image of a sample with its groups (T,) -> augmented (height, width, 3) RGB uint8."""
        transforms = self._transforms_of_copy(augmentation_groups, draw.copy) if draw.copy else self._first
        if transforms.transforms:
            # One stream for all transforms: with `set_random_seed`, each would draw the same numbers, and an image that
            # is flipped would always be brightened as well.
            number = seed_of_draw(seed, epoch, draw)
            transforms.set_random_state(np.random.default_rng(number), random.Random(number))
            image = transforms(image=image)["image"]
        if image.shape[:2] != self._size:
            image = cv2.resize(image, (self._size[1], self._size[0]), interpolation=cv2.INTER_AREA)  # pyright: ignore[reportAssignmentType]
        return image

    def _transforms_of_copy(self, augmentation_groups: Groups, copy: int) -> "A.Compose":
        """Those of the first task whose group has `copies`; they are used in turn."""
        for task, group in zip(self._by_task, augmentation_groups.tolist(), strict=True):
            if group >= 0 and (copies := task.copies[group]):
                return copies[(copy - 1) % len(copies)]
        return self._first


def build_augmenter(plan: Plan, margin: Margin = (0, 0)) -> Augmenter:
    """The augmentation of what a planned network is trained on, for inputs with surroundings of `margin`."""
    return Augmenter(plan.tasks, [config.augment for config in plan.configs], plan.model.input, margin)


def needed_margin(plan: Plan) -> Margin:
    """The margin of the surroundings that a network's augmentation needs; (0, 0) unless it is geometric."""
    is_augmented = not plan.train.freeze or plan.train.views > 2
    if not is_augmented or not build_augmenter(plan).is_geometric:
        return 0, 0
    return margin_of(plan.model.input, plan.model.zoom)


class _TaskAugmentation:
    """Multipliers and transforms of the augmentation groups of one task: its classes, then `augment.groups`."""

    def __init__(
        self, task: Task, config: AugmentConfig, every: Sequence[BuiltTransform], size: tuple[int, int], margin: Margin
    ) -> None:
        rules = [*(config.classes.get(name) for name in task.classes), *config.groups]
        keys = [f"classes.{name}" for name in task.classes] + [f"groups.{i}" for i in range(len(config.groups))]
        self._class_has_rule = [rule is not None for rule in rules[: len(task.classes)]]
        self._balance = config.balance
        self._multipliers = [rule.multiplier if rule else 1 for rule in rules]
        self.copies: list[list[A.Compose]] = []
        self.is_geometric = False
        for key, rule in zip(keys, rules, strict=True):
            full_key = f"tasks.{task.name}.augment.{key}.copies"
            copies = [build_transforms(full_key, copy) for copy in (rule.copies if rule else ())]
            self.copies.append([compose([*copy, *every], size, margin) for copy in copies])
            self.is_geometric |= any(built.is_geometric for copy in copies for built in copy)

    def multipliers(self, groups: Groups) -> NDArray[np.intp]:
        """(R,) augmentation groups of this task -> (R,) multipliers, 0 without a label."""
        times = np.array([*self._multipliers, 0], np.intp)  # the last one is that of group -1
        if self._balance:
            photos = np.bincount(groups[groups >= 0], minlength=len(times))[: len(self._class_has_rule)]
            for code, has_rule in enumerate(self._class_has_rule):
                if not has_rule and photos[code]:
                    times[code] = max(round((photos.max() / photos[code]) ** self._balance), 1)
        return times[groups]


def seed_of_draw(seed: int, epoch: int, draw: SampleDraw) -> int:
    """The seed of whatever is random about one draw."""
    return int(np.random.SeedSequence([seed, epoch, draw.row, draw.copy]).generate_state(1)[0])


def choose_partners(
    count: int, seed: int, epoch: int, step: int, candidates: NDArray[np.intp] | None = None
) -> NDArray[np.intp]:
    """(count,) the image that each image of a step is mixed with: each once, or any of `candidates`, if any."""
    rng = np.random.default_rng([seed, epoch, step])
    if candidates is None or not len(candidates):
        return rng.permutation(count)
    return rng.choice(candidates, count)


def replace_right_half(image: Image, other: Image) -> Image:
    """Vertical half CutMix: the image with the right half of another of the same size.

    Source: Yun et al., "CutMix", 2019, with the box fixed to one half of the face, as in the competition's best entry.
    """
    half = image.shape[1] // 2
    return np.concatenate([image[:, :half], other[:, half:]], axis=1)
