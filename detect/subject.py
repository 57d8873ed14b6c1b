"""Choose the face that a photo is about.

In: the Faces of one photo and its size. Out: the Subject, which knows the window to cut.

The face with the highest score is often not the subject: a small sharp face on a poster can beat a large masked one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from detect.faces import GIVEN_PART_HEIGHT, Faces
from detect.window import Window, fallback_window, window_around

if TYPE_CHECKING:
    from detect.config import CropConfig  # with pydantic, which the runtime of an export does without

# Where a portrait's subject usually is, (x, y) in shares of the photo's width and height.
CENTRE = (0.5, 0.47)
# How far from the middle of a part of a photo the centre of its face may be, in shares of its sides: half a face.
CENTRAL = 0.15


@dataclass(frozen=True, slots=True)
class Subject:
    """The face that a photo is about, or the fact that none was found.

    The cache keeps all of it, so that other crops can be cut without running the detector again. For the fallback, box,
    score and landmarks are None. Where none is looked for, the box is the photo's ("whole"); where a
    given face is not found again, it is the given one ("given").
    """

    found_by: str  # the step of the ladder, one of `DetectConfig.steps`
    box: tuple[float, float, float, float] | None = None  # x1, y1, x2, y2 of the face, in pixels of the upright photo
    score: float | None = None  # the detector's, of that face
    landmarks: tuple[tuple[float, float], ...] | None = None  # five (x, y), in the same pixels
    # How many faces that step found in the photo, this one included; None if that is not known
    faces: int | None = None

    @classmethod
    def of_face(cls, found_by: str, face: Faces, faces: int | None = None) -> "Subject":
        """Make the subject from Faces with a single face, rounded to a hundredth of a pixel as in the cache."""
        x1, y1, x2, y2 = (round(float(v), 2) for v in face.boxes[0])
        landmarks = tuple((round(float(x), 2), round(float(y), 2)) for x, y in face.landmarks[0])
        return cls(found_by, (x1, y1, x2, y2), round(float(face.scores[0]), 5), landmarks, faces)

    @classmethod
    def whole(cls, photo_height: int, photo_width: int) -> "Subject":
        """Make the subject of a photo that is nothing but a face."""
        return cls("whole", (0.0, 0.0, float(photo_width), float(photo_height)))

    @classmethod
    def given(cls, part_height: int, part_width: int) -> "Subject":
        """Make the subject of a part of a photo around a given face from the face's box."""
        x, y = part_width / 2, part_height / 2
        wide, tall = (side / GIVEN_PART_HEIGHT / 2 for side in (part_width, part_height))
        return cls("given", (round(x - wide, 2), round(y - tall, 2), round(x + wide, 2), round(y + tall, 2)))

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "Subject":
        """Make the subject from the facts of a cache entry."""
        landmarks = None if facts["landmarks"] is None else tuple((x, y) for x, y in facts["landmarks"])
        box = None if facts["box"] is None else tuple(facts["box"])
        return cls(facts["found_by"], box, facts["score"], landmarks, facts.get("faces"))

    def facts(self) -> dict[str, Any]:
        """Return the JSON object that the cache keeps."""
        return {
            "found_by": self.found_by,
            "box": None if self.box is None else list(self.box),
            "score": self.score,
            "landmarks": None if self.landmarks is None else [list(point) for point in self.landmarks],
            **({} if self.faces is None else {"faces": self.faces}),
        }

    def window(self, photo_height: int, photo_width: int, crop: "CropConfig") -> Window:
        """Return the window to cut from a photo of this size, in pixels."""
        if self.box is None:
            return fallback_window(photo_height, photo_width)
        if self.found_by == "whole":
            return Window(0, 0, photo_width, photo_height)
        return window_around(self.box, crop, self.landmarks)


def choose_subject(
    faces: Faces, photo_height: int, photo_width: int, min_subject: float, *, is_part: bool = False
) -> int | None:
    """Choose the largest face, with a weight that falls with the distance from the centre.

    Args:
        photo_height, photo_width: in pixels.
        min_subject: minimum shorter side of a face, as a share of the photo's shorter side. Faces below it, or with
            their centre outside the photo, are not considered.
        is_part: this is the part of a photo around a given face, so that a face beside the middle is another one.

    Returns:
        The index into `faces`, or None if no face can be the subject.
    """
    if not len(faces):
        return None
    x1, y1, x2, y2 = faces.boxes.T
    side = np.minimum(x2 - x1, y2 - y1) / min(photo_height, photo_width)
    across, down = (x1 + x2) / 2 / photo_width, (y1 + y2) / 2 / photo_height
    far = np.hypot(across - CENTRE[0], down - CENTRE[1])
    # Boxes jitter by a few percent between pyramid levels; a tolerance of a tenth keeps subjects at the limit.
    possible = (side >= 0.9 * min_subject) & (across > 0) & (across < 1) & (down > 0) & (down < 1)
    if is_part:
        possible &= np.maximum(abs(across - 0.5), abs(down - 0.5)) < CENTRAL
    if not possible.any():
        return None
    weight = np.where(possible, side * np.exp(-((far / 0.35) ** 2)), -1.0)
    return int(weight.argmax())
