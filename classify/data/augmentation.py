"""Augmentation and oversampling per class, as the config says.

class or group and copy number -> a list of albumentations transforms; an image and a seed -> the augmented image.

What a sample looks like is a pure function of (seed, epoch, sample, copy). albumentations would otherwise draw from one
stream per process, and forked DataLoader workers would all draw the same (its 2.0.8 repeats every worker and
every epoch).
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cache.errors import UsageError
from classify.config import AugmentConfig, Transform
from classify.preprocessing import Image
from classify.tasks import Task

if TYPE_CHECKING:
    from classify.models.plan import Plan

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would look for a newer release on import

import albumentations as A

Kinds = NDArray[np.intp]
MAX_SEED = 2**32


@dataclass(frozen=True, slots=True)
class Turn:
    """One showing of one sample in an epoch.

    Attributes:
        row: index of the sample among those trained on.
        copy: 0 for the first showing, 1 ... for the oversampled ones.
    """

    row: int
    copy: int


class Augmenter:
    """The augmentation of what one network learns from.

    A sample has a kind per task: its class, or, after the classes, the group whose rule chose it; -1 without a label.

    Args:
        tasks: what the network tells; the configs name their classes.
        configs: transforms and multipliers of each task; `every` is the first one's.
        size: (height, width) that every result has.

    Raises:
        UsageError: a transform does not exist in albumentations or does not take these arguments.
    """

    def __init__(self, tasks: Sequence[Task], configs: Sequence[AugmentConfig], size: tuple[int, int]) -> None:
        self._size = size
        every = _transforms(tasks[0].name, "every", configs[0].every)
        self._first = A.Compose(every)
        self._kinds = [_Kinds(task, config, every) for task, config in zip(tasks, configs, strict=True)]

    def epoch(self, kinds: Kinds, seed: int, epoch: int, draws: NDArray[np.float64] | None = None) -> list[Turn]:
        """Every sample as many times as its kinds' multipliers say, in an order that (seed, epoch) decides.

        Args:
            kinds: (R, T) of the samples that are trained on.
            seed, epoch: decide the order.
            draws: (R,) chances, adding up to 1, by which as many samples are drawn instead.
        """
        times = self.multipliers(kinds)
        rng = np.random.default_rng([seed, epoch])
        if draws is None:
            turns = [Turn(row, copy) for row, count in enumerate(times.tolist()) for copy in range(count)]
            return [turns[i] for i in rng.permutation(len(turns))]
        shown: Counter[int] = Counter()
        turns = list[Turn]()
        for row in rng.choice(len(kinds), size=int(times.sum()), p=draws).tolist():
            turns.append(Turn(row, shown[row]))
            shown[row] += 1
        return turns

    def multipliers(self, kinds: Kinds) -> NDArray[np.intp]:
        """(R,) how often each sample is shown; where several tasks tell, the largest."""
        each = [own.multipliers(kinds[:, i]) for i, own in enumerate(self._kinds)]
        return np.max(each, axis=0)

    def apply(self, image: Image, kinds: NDArray[np.intp], turn: Turn, seed: int, epoch: int) -> Image:
        """The image of a sample of these kinds (T,) as it is shown in this turn: RGB uint8 of the input size."""
        compose = self._copy(kinds, turn.copy) if turn.copy else self._first
        if compose.transforms:
            compose.set_random_seed(stream(seed, epoch, turn))
            image = compose(image=image)["image"]
        if image.shape[:2] != self._size:
            image = cv2.resize(image, (self._size[1], self._size[0]), interpolation=cv2.INTER_AREA)  # pyright: ignore[reportAssignmentType]
        return image

    def _copy(self, kinds: NDArray[np.intp], copy: int) -> A.Compose:
        for own, kind in zip(self._kinds, kinds.tolist(), strict=True):
            if kind >= 0 and (copies := own.copies[kind]):
                return copies[(copy - 1) % len(copies)]
        return self._first


def augmenter_of(plan: "Plan") -> Augmenter:
    """The augmentation of what a planned network learns from."""
    return Augmenter(plan.tasks, [config.augment for config in plan.configs], plan.model.input)


class _Kinds:
    """One task's classes and groups: how often their samples are shown, and how the copies look."""

    def __init__(self, task: Task, config: AugmentConfig, every: Sequence[Any]) -> None:
        classes = [config.classes.get(name) for name in task.classes]
        self._classes, self._balance = len(classes), config.balance
        self._given = [one is not None for one in classes]
        self._multipliers = [one.multiplier if one else 1 for one in (*classes, *config.groups)]
        places = [f"classes.{name}" for name in task.classes] + [f"groups.{i}" for i in range(len(config.groups))]
        self.copies: list[list[A.Compose]] = []
        for place, one in zip(places, (*classes, *config.groups), strict=True):
            made = [_transforms(task.name, f"{place}.copies", transforms) for transforms in (one.copies if one else ())]
            self.copies.append([A.Compose([*transforms, *every]) for transforms in made])

    def multipliers(self, kinds: NDArray[np.intp]) -> NDArray[np.intp]:
        times = np.array([*self._multipliers, 0], np.intp)  # the last one for those without a label
        if self._balance:
            photos = np.bincount(kinds[kinds >= 0], minlength=len(times))[: self._classes]
            for code, given in enumerate(self._given):
                if not given and photos[code]:
                    times[code] = max(round((photos.max() / photos[code]) ** self._balance), 1)
        return times[kinds]


def stream(seed: int, epoch: int, turn: Turn) -> int:
    """The seed of whatever is random in one showing."""
    return int(np.random.SeedSequence([seed, epoch, turn.row, turn.copy]).generate_state(1)[0]) % MAX_SEED


def _transforms(task: str, where: str, transforms: Sequence[Transform]) -> list[Any]:
    made: list[Any] = []
    for transform in transforms:
        for name, arguments in transform.items():
            kind = getattr(A, name, None)
            if not (isinstance(kind, type) and issubclass(kind, A.BasicTransform)):
                raise UsageError(f"tasks.{task}.augment.{where}: albumentations has no transform {name!r}")
            try:
                made.append(kind(**_tuples(arguments)))
            except (TypeError, ValueError) as error:
                raise UsageError(f"tasks.{task}.augment.{where}: {name} does not take {arguments}: {error}") from None
    return made


def _tuples(arguments: dict[str, Any]) -> dict[str, Any]:
    # YAML has lists only, and albumentations checks for tuples.
    return {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}


def partners(count: int, seed: int, epoch: int, step: int, wanted: NDArray[np.intp] | None = None) -> NDArray[np.intp]:
    """Whose right half each of a step's `count` images gets: (count,), each of them once, or one of those `wanted`."""
    rng = np.random.default_rng([seed, epoch, step])
    return rng.permutation(count) if wanted is None or not len(wanted) else rng.choice(wanted, count)


def with_right_half(image: Image, other: Image) -> Image:
    """Vertical half CutMix: the image with the right half of another of its size.

    Source: Yun et al., "CutMix", 2019, with the box fixed to one half of the face, as the competition's best had it.
    """
    half = image.shape[1] // 2
    return np.concatenate([image[:, :half], other[:, half:]], axis=1)
