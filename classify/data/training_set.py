"""What one network learns from and is validated on.

all samples of a run, for one network -> inputs, targets, and how often and how each is shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from classify.masks.synthesis import synthesise
from classify.models.heads import Heads, Targets
from classify.models.soft_targets import with_teacher
from classify.preprocessing import Image
from classify.tasks import UNLABELLED

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Masks:
    """Faces on which a mask may be drawn.

    Attributes:
        landmarks: (M, 5, 2) float32 in pixels of the inputs; NaN for samples that stay as they are.
        share: of their showings.
        fabrics, wearings: weight of each; those of `synthesise` when they are empty.
        task: the column of the codes that a mask changes; -1 where the network does not tell of masks.
        codes: way of wearing it -> class index.
    """

    landmarks: NDArray[np.float32]
    share: float
    fabrics: Mapping[str, float] = field(default_factory=dict[str, float])
    wearings: Mapping[str, float] = field(default_factory=dict[str, float])
    task: int = -1
    codes: Mapping[str, int] = field(default_factory=dict[str, int])

    def draw(self, image: Image, sample: int, rng: np.random.Generator) -> tuple[Image, str | None]:
        """The image of a sample as it is shown, and how the mask is worn that was drawn on it, if any."""
        landmarks = self.landmarks[sample]
        if np.isnan(landmarks[0, 0]) or rng.random() >= self.share:
            return image, None
        return synthesise(image, landmarks, rng, fabrics=self.fabrics or None, wearings=self.wearings or None)


@dataclass(frozen=True)
class NetworkData:
    """The samples of a run as one network sees them.

    Attributes:
        pixels: (M, H, W, 3) uint8, one input per sample.
        codes: (M, T) class index for each task that the network tells, -1 where unlabelled.
        numbers: (M, T) the numbers behind them, NaN where there is none.
        learnt: (M, T) which labels are learnt from; the others count at validation only.
        kinds: (M, T) class or group, as the augmentation has it.
        chances: (M,) by which samples are drawn, up to a factor; None shows all.
        train, validate: rows; `validate` may be empty.
        masks: to be drawn.
        taught: (M, classes of all tasks side by side) a teacher's probabilities, NaN where it told nothing; or None.
        share: of the teacher in what is learnt.
        people: (M,) a number for each person; None takes every sample as another one's.
    """

    pixels: Pixels
    codes: NDArray[np.intp]
    numbers: NDArray[np.float64]
    label_mask: NDArray[np.bool_]
    kinds: NDArray[np.intp]
    train: NDArray[np.intp]
    validate: NDArray[np.intp]
    sampling_weights: NDArray[np.float64] | None = None
    masks: Masks | None = None
    taught: Targets | None = None
    share: float = 0.0
    people: NDArray[np.intp] | None = None

    def training_set(self, heads: Heads) -> "TrainingSet":
        """What is trained on."""
        rows = self.train
        codes = np.where(self.label_mask[rows], self.codes[rows], UNLABELLED)
        worn: dict[str, Targets] = {}
        if self.masks:
            for wearing, code in self.masks.codes.items():
                changed = codes.copy()
                if self.masks.task >= 0:
                    known = changed[:, self.masks.task] != UNLABELLED
                    changed[known, self.masks.task] = code
                worn[wearing] = self._targets(heads, changed, worn=True)
        people = np.arange(len(self.codes)) if self.people is None else self.people
        sampling_weights = (
            None if self.sampling_weights is None else self.sampling_weights[rows] / self.sampling_weights[rows].sum()
        )
        return TrainingSet(
            self.pixels, rows, np.where(codes == UNLABELLED, UNLABELLED, self.kinds[rows]),
            self._targets(heads, codes), sampling_weights, self.masks, worn, codes, people[rows],
        )  # fmt: skip

    def _targets(self, heads: Heads, codes: NDArray[np.intp], *, worn: bool = False) -> Targets:
        """What is learnt from the samples that are trained on, where these are their codes."""
        targets = heads.encode(codes, self.numbers[self.train])
        if self.taught is None:
            return targets
        taught = self.taught[self.train]
        if worn and self.masks and self.masks.task >= 0:  # the teacher saw the face without the mask
            task = self.masks.task
            first = sum(len(one.classes) for one in heads.tasks[:task])
            classes = len(heads.tasks[task].classes)
            taught[:, first : first + classes] = codes[:, task, None] == np.arange(classes)
        return with_teacher(heads, targets, taught, self.share)


@dataclass(frozen=True)
class TrainingSet:
    """The samples that one network is trained on.

    Attributes:
        pixels: (M, H, W, 3) uint8 of all samples.
        rows: (R,) those that are trained on.
        kinds: (R, T) as the augmentation has them.
        targets: (R, columns).
        chances: (R,) adding up to 1, or None.
        masks, worn: masks to be drawn, and the targets of each way of wearing one.
        codes: (R, T) the labels that are learnt.
        people: (R,) a number for each person.
    """

    pixels: Pixels
    rows: NDArray[np.intp]
    kinds: NDArray[np.intp]
    targets: Targets
    sampling_weights: NDArray[np.float64] | None = None
    masks: Masks | None = None
    worn: Mapping[str, Targets] = field(default_factory=dict[str, Targets])
    codes: NDArray[np.intp] = field(default_factory=lambda: np.empty((0, 0), np.intp))
    people: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))
