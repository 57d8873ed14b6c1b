"""What a detector is, and its result for one image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # RGB, (height, width, 3)
GIVEN_PART_HEIGHT = 3.4  # of the part of a photo that is read around a given face, in heights of the face's box


@dataclass(frozen=True, slots=True)
class Faces:
    """All faces of one image, by descending score.

    Attributes:
        boxes: (n, 4) float32, x1, y1, x2, y2 in pixels of the upright image; may extend beyond its border.
        scores: (n,) float32 in [0, 1].
        landmarks: (n, 5, 2) float32, x and y of left eye, right eye, nose, left and right mouth corner.
        others: number of further faces that were found in the image, where these are a choice.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    others: int = 0

    def __len__(self) -> int:
        """Return the number of faces."""
        return len(self.scores)

    def __getitem__(self, chosen: slice | NDArray[Any]) -> "Faces":
        """Select faces by slice, index array or mask."""
        scores = self.scores[chosen]
        return Faces(self.boxes[chosen], scores, self.landmarks[chosen], self.others + len(self) - len(scores))

    @classmethod
    def none(cls) -> "Faces":
        """Return an empty result."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))


class Detector(Protocol):
    """What all face detectors have in common."""

    def detect(self, images: Sequence[Image], min_faces: Sequence[float]) -> list[Faces]:
        """Find the faces of each image, by descending score, none smaller than its `min_faces` pixels."""
        ...
