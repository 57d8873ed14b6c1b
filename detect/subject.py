"""Which of the faces the photo is about.

MTCNN's most certain face is often not the subject: a small sharp face on a poster can beat a large masked one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from detect.config import CropConfig
from detect.faces import Faces
from detect.window import Window, fallback_window, window_around

# The subject of a portrait stands here, in shares of the photo's width and height.
CENTRE = (0.5, 0.47)


@dataclass(frozen=True, slots=True)
class Subject:
    """The one face that a photo is about, or that none was found.

    What the cache keeps of it is all that a crop is cut by: another crop needs no other look at the photo.

    Attributes:
        found_by: the step of the ladder, one of `DetectConfig.steps`.
        box: x1, y1, x2, y2 of the face; None for the fallback.
        score: the detector's score of that face; None for the fallback.
        landmarks: five (x, y); None for the fallback.
    """

    found_by: str
    box: tuple[float, float, float, float] | None = None
    score: float | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None

    @classmethod
    def of_face(cls, found_by: str, face: Faces) -> "Subject":
        """The subject with a single face's numbers, as the cache keeps them: to a hundredth of a pixel."""
        x1, y1, x2, y2 = (round(float(v), 2) for v in face.boxes[0])
        landmarks = tuple((round(float(x), 2), round(float(y), 2)) for x, y in face.landmarks[0])
        return cls(found_by, (x1, y1, x2, y2), round(float(face.scores[0]), 5), landmarks)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "Subject":
        """The subject whose `facts` these are."""
        landmarks = facts["landmarks"]
        return cls(
            facts["found_by"],
            None if facts["box"] is None else tuple(facts["box"]),
            facts["score"],
            None if landmarks is None else tuple((x, y) for x, y in landmarks),
        )

    def facts(self) -> dict[str, Any]:
        """What the cache keeps of it."""
        return {
            "found_by": self.found_by,
            "box": None if self.box is None else list(self.box),
            "score": self.score,
            "landmarks": None if self.landmarks is None else [list(point) for point in self.landmarks],
        }

    def window(self, photo_height: int, photo_width: int, crop: CropConfig) -> Window:
        """What is cut from the photo."""
        if self.box is None:
            return fallback_window(photo_height, photo_width)
        return window_around(self.box, crop, self.landmarks)


def choose_subject(faces: Faces, photo_height: int, photo_width: int, min_subject: float) -> int | None:
    """The index of the subject: the largest face, with faces far from the middle counted as smaller.

    A face's side counts in full in the middle of the photo and less and less towards the corners. Faces whose shorter
    side is under `min_subject` of the photo's shorter side, or whose middle lies outside the photo, are not considered.

    Returns:
        The index into `faces`, or None when no face can be the subject.
    """
    if not len(faces):
        return None
    x1, y1, x2, y2 = faces.boxes.T
    side = np.minimum(x2 - x1, y2 - y1) / min(photo_height, photo_width)
    across, down = (x1 + x2) / 2 / photo_width, (y1 + y2) / 2 / photo_height
    far = np.hypot(across - CENTRE[0], down - CENTRE[1])
    # Boxes jitter by a few percent between pyramid levels: a tenth of slack keeps a subject at the limit.
    possible = (side >= 0.9 * min_subject) & (across > 0) & (across < 1) & (down > 0) & (down < 1)
    if not possible.any():
        return None
    weight = np.where(possible, side * np.exp(-((far / 0.35) ** 2)), -1.0)
    return int(weight.argmax())
