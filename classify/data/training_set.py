"""The samples that one network is trained and validated on.

all samples of a run -> NetworkData of one network -> TrainingSet: inputs, targets, and how often each sample is drawn.
"""

import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classify.masks.synthesis import synthesise
from classify.models.heads import Heads, Targets
from classify.models.soft_targets import mix_in_teacher
from classify.preprocessing import Image, Margin
from classify.tasks import UNLABELLED

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class DrawnMasks:
    """Which samples a mask may be drawn on, and what masks."""

    # (M, 5, 2) float32 (x, y) in pixels of what is trained on; NaN for samples that stay as they are
    landmarks: NDArray[np.float32]
    share: float  # of the draws of these samples that get a mask, in [0, 1]
    # fabrics, wearings: weight of each; those of `synthesise` when they are empty
    fabrics: Mapping[str, float] = field(default_factory=dict[str, float])
    wearings: Mapping[str, float] = field(default_factory=dict[str, float])
    task: int = -1  # the column of the codes that a mask changes; -1 where the network does not predict masks
    codes: Mapping[str, int] = field(default_factory=dict[str, int])  # way of wearing a mask -> class index

    def draw(self, image: Image, sample: int, rng: np.random.Generator) -> tuple[Image, str | None]:
        """The image of a sample with or without a mask, and the way the mask is worn, if one was drawn."""
        landmarks = self.landmarks[sample]
        if np.isnan(landmarks[0, 0]) or rng.random() >= self.share:
            return image, None
        return synthesise(image, landmarks, rng, fabrics=self.fabrics or None, wearings=self.wearings or None)


@dataclass(frozen=True)
class NetworkData:
    """The samples of a run as one network sees them."""

    pixels: Pixels  # (M, H, W, 3) uint8, one input per sample, as prediction sees it
    codes: NDArray[np.intp]  # (M, T) class index for each task that the network predicts, -1 where unlabelled
    numbers: NDArray[np.float64]  # (M, T) the numbers behind them, NaN where there is none
    label_mask: NDArray[np.bool_]  # (M, T) which labels are trained on; the others count at validation only
    augmentation_groups: NDArray[np.intp]  # (M, T) class or group, as the Augmenter counts them
    train: NDArray[np.intp]  # train, validate: rows; `validate` may be empty
    validate: NDArray[np.intp]
    sampling_weights: NDArray[np.float64] | None = None  # (M,) for drawing samples, up to a factor; None uses all
    masks: DrawnMasks | None = None  # to be drawn
    # (M, classes of all tasks side by side) probabilities, NaN where the teacher has none; or None
    teacher_targets: Targets | None = None
    teacher_weight: float = 0.0  # of the teacher in the targets, in [0, 1]
    # (M,) a number for each person; None takes every sample for a person of its own
    person_ids: NDArray[np.intp] | None = None
    sources_digest: str = ""  # a hash of all samples' source ids in order, so that a training is of these very photos
    # (M, H + 2 y, W + 2 x, 3) uint8, `pixels` with the surroundings that geometric augmentation needs; None without
    wide: Pixels | None = None

    @property
    def packed(self) -> Pixels:
        """The pixels as they are on disk: with the surroundings where there are some."""
        return self.pixels if self.wide is None else self.wide

    @property
    def margin(self) -> Margin:
        """(y, x) of the surroundings; (0, 0) without."""
        (height, width), (wide_height, wide_width) = self.pixels.shape[1:3], self.packed.shape[1:3]
        return (wide_height - height) // 2, (wide_width - width) // 2

    def training_set(self, heads: Heads) -> "TrainingSet":
        """The samples that a network with these heads is trained on."""
        rows = self.train
        codes = np.where(self.label_mask[rows], self.codes[rows], UNLABELLED)
        sampling_weights = None
        if self.sampling_weights is not None:
            sampling_weights = self.sampling_weights[rows] / self.sampling_weights[rows].sum()
        person_ids = np.arange(len(self.codes)) if self.person_ids is None else self.person_ids
        augmentation_groups = np.where(codes == UNLABELLED, UNLABELLED, self.augmentation_groups[rows])
        return TrainingSet(
            self.packed, rows, augmentation_groups, self._targets(heads, codes), sampling_weights,
            self.masks, self._worn_targets(heads, codes), codes, person_ids[rows],
        )  # fmt: skip

    def _worn_targets(self, heads: Heads, codes: NDArray[np.intp]) -> dict[str, Targets]:
        """The targets (R, columns) once a mask has been drawn, by the way of wearing it."""
        worn: dict[str, Targets] = {}
        for wearing, code in self.masks.codes.items() if self.masks else ():
            changed = codes.copy()
            if self.masks and self.masks.task >= 0:
                known = changed[:, self.masks.task] != UNLABELLED
                changed[known, self.masks.task] = code
            worn[wearing] = self._targets(heads, changed, worn=True)
        return worn

    def _targets(self, heads: Heads, codes: NDArray[np.intp], *, worn: bool = False) -> Targets:
        """Class indices (R, T) -> targets (R, columns) of the training rows, with the teacher's part in them."""
        targets = heads.encode(codes, self.numbers[self.train])
        if self.teacher_targets is None:
            return targets
        teacher_targets = self.teacher_targets[self.train]
        if worn and self.masks and self.masks.task >= 0:  # the teacher saw the face without the mask
            task = self.masks.task
            first = sum(len(before.classes) for before in heads.tasks[:task])
            classes = len(heads.tasks[task].classes)
            teacher_targets[:, first : first + classes] = codes[:, task, None] == np.arange(classes)
        return mix_in_teacher(heads, targets, teacher_targets, self.teacher_weight)


@dataclass(frozen=True)
class TrainingSet:
    """The samples that one network is trained on."""

    pixels: Pixels  # (M, H, W, 3) uint8 of all samples of the run, with surroundings if the augmentation needs them
    rows: NDArray[np.intp]  # (R,) the index in `pixels` of each training sample
    augmentation_groups: NDArray[np.intp]  # (R, T) class or group, as the Augmenter counts them
    targets: Targets  # (R, columns)
    sampling_weights: NDArray[np.float64] | None = None  # (R,) adding up to 1, or None
    # masks, worn: masks to be drawn, and the targets (R, columns) for each way of wearing one
    masks: DrawnMasks | None = None
    worn: Mapping[str, Targets] = field(default_factory=dict[str, Targets])
    # (R, T) class indices of the labels that are trained on, else -1
    codes: NDArray[np.intp] = field(default_factory=lambda: np.empty((0, 0), np.intp))
    person_ids: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))  # (R,) a number for each person

    def __getstate__(self) -> dict[str, Any]:
        """For a process that makes batches: without the pixels if they are mapped from a file, which it opens again."""
        return {**vars(self), "pixels": _MappedFile.of(self.pixels) or self.pixels}

    def __setstate__(self, state: dict[str, Any]) -> None:
        pixels = state["pixels"]
        vars(self).update({**state, "pixels": pixels.open() if isinstance(pixels, _MappedFile) else pixels})


@dataclass(frozen=True, slots=True)
class _MappedFile:
    """Where the pixels of a memory map are; a pickled map would hold them all."""

    path: str
    offset: int
    shape: tuple[int, ...]

    @classmethod
    def of(cls, pixels: Pixels) -> "_MappedFile | None":
        """The file of a memory map; None for an array in memory, and for a part of a map, which has other strides."""
        if not isinstance(pixels, np.memmap) or not isinstance(pixels.base, mmap.mmap) or not pixels.filename:
            return None
        return cls(str(pixels.filename), pixels.offset, pixels.shape)

    def open(self) -> Pixels:
        return np.memmap(self.path, np.uint8, "r", self.offset, self.shape)
