"""Augmentation and oversampling per class, as the config says.

class index and copy number -> a list of albumentations transforms; an image and a seed -> the augmented image.

What a sample looks like is a pure function of (seed, epoch, sample, copy). albumentations would otherwise draw from one
stream per process, and forked DataLoader workers would all draw the same (its 2.0.8 repeats every worker and
every epoch).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cache.errors import UsageError
from classify.config import AugmentConfig, Transform
from classify.inputs import Image
from classify.tasks import Task

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would look for a newer release on import

import albumentations as A

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
    """One task's augmentation.

    Args:
        task: whose classes the config names.
        config: transforms and multipliers.
        size: (height, width) that every result has.

    Raises:
        UsageError: a transform does not exist in albumentations or does not take these arguments.
    """

    def __init__(self, task: Task, config: AugmentConfig, size: tuple[int, int]) -> None:
        self._size = size
        self._multipliers = [config.classes[name].multiplier if name in config.classes else 1 for name in task.classes]
        every = _transforms(task.name, "every", config.every)
        self._first = A.Compose(every)
        self._copies: list[list[A.Compose]] = []
        for name in task.classes:
            lists = config.classes[name].copies if name in config.classes else ()
            made = [_transforms(task.name, f"classes.{name}.copies", transforms) for transforms in lists]
            self._copies.append([A.Compose([*transforms, *every]) for transforms in made])

    def epoch(self, codes: Sequence[int], seed: int, epoch: int) -> list[Turn]:
        """Every sample as many times as its class's multiplier says, in an order that (seed, epoch) decides."""
        turns = [Turn(row, copy) for row, code in enumerate(codes) for copy in range(self._multipliers[code])]
        order = np.random.default_rng([seed, epoch]).permutation(len(turns))
        return [turns[i] for i in order]

    def counts(self, codes: Sequence[int]) -> list[tuple[int, int]]:
        """Per class: photos, and how often they are seen in an epoch."""
        photos = np.bincount(np.asarray(codes, dtype=np.intp), minlength=len(self._multipliers))
        return [(int(n), int(n) * times) for n, times in zip(photos, self._multipliers, strict=True)]

    def apply(self, image: Image, code: int, turn: Turn, seed: int, epoch: int) -> Image:
        """The image as it is shown in this turn: RGB uint8 of the input size."""
        copies = self._copies[code]
        compose = copies[(turn.copy - 1) % len(copies)] if turn.copy and copies else self._first
        if compose.transforms:
            stream = np.random.SeedSequence([seed, epoch, turn.row, turn.copy]).generate_state(1)[0]
            compose.set_random_seed(int(stream) % MAX_SEED)
            image = compose(image=image)["image"]
        if image.shape[:2] != self._size:
            image = cv2.resize(image, (self._size[1], self._size[0]), interpolation=cv2.INTER_AREA)  # pyright: ignore[reportAssignmentType]
        return image


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


def partners(count: int, seed: int, epoch: int, step: int) -> NDArray[np.intp]:
    """Whose right half each of a step's `count` images gets: (count,), each of them once."""
    return np.random.default_rng([seed, epoch, step]).permutation(count)


def with_right_half(image: Image, other: Image) -> Image:
    """Vertical half CutMix: the image with the right half of another of its size.

    Source: Yun et al., "CutMix", 2019, with the box fixed to one half of the face, as the competition's best had it.
    """
    half = image.shape[1] // 2
    return np.concatenate([image[:, :half], other[:, half:]], axis=1)
