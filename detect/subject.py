"""Which of the faces the photo is about.

MTCNN's most certain face is often not the subject: a small sharp face on a poster can beat a large masked one.
"""

import numpy as np

from detect.faces import Faces

# The subject of a portrait stands here, in shares of the photo's width and height.
CENTRE = (0.5, 0.47)


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
