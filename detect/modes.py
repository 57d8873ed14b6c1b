"""MTCNN's modes: one pass, in steps for the subject alone, or together with YuNet.

images and their smallest faces -> one or several passes of a detector -> Faces of each image. No torch is imported: the
runtime that `faceline export` writes has this module, too.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detect.faces import Detector, Faces, Image
from detect.subject import choose_subject

MIN_FACE = 20  # pixels; the default of FaceDetector, which decides the levels of the full pyramid

# Of each step: the smallest face, as a share of the photo's shorter side, and the score that ends the search.
PORTRAIT_STEPS = ((0.3, 0.9), (0.12, 0.0))

# Scores that a face needs in thorough mode; chosen on street photos (docs/benchmarks.md).
THOROUGH_YUNET, THOROUGH_MTCNN = 0.6, 0.9
SAME_FACE = 0.4  # boxes with a larger IoU show the same face


class PortraitMode:
    """Finds each image's subject: large faces first, smaller ones only if no large one has a high score.

    Args:
        mtcnn: the detector.
        min_face: smallest face of the full pyramid, in pixels.
        factor: ratio of the sizes of neighbouring pyramid levels.
    """

    def __init__(self, mtcnn: Detector, min_face: float, factor: float) -> None:
        self._mtcnn, self._min_face, self._factor = mtcnn, min_face, factor

    def detect(self, images: Sequence[Image], min_faces: Sequence[float]) -> list[Faces]:
        """See `Detector.detect`; the result has one face or none."""
        found = [Faces.none()] * len(images)
        remaining = list(range(len(images)))
        for share, certain in PORTRAIT_STEPS:
            sizes = [self._level(max(min_faces[i], share * min(images[i].shape[:2]))) for i in remaining]
            uncertain: list[int] = []
            faces_of_each = self._mtcnn.detect([images[i] for i in remaining], sizes)
            for index, size, faces in zip(remaining, sizes, faces_of_each, strict=True):
                height, width = images[index].shape[:2]
                subject = choose_subject(faces, height, width, size / max(min(height, width), 1))
                if subject is not None:
                    found[index] = faces[subject : subject + 1]
                if subject is None or faces.scores[subject] < certain:
                    uncertain.append(index)
            remaining = uncertain
        return found

    def _level(self, min_face: float) -> float:
        """Return the face size, in pixels, of the coarsest level of the full pyramid that shows `min_face` pixels.

        A pyramid with other levels would find the same faces, but with other boxes.
        """
        steps = math.floor(math.log(max(min_face / self._min_face, 1)) / -math.log(self._factor))
        return self._min_face / self._factor**steps


class ThoroughMode:
    """Finds YuNet's faces, plus those of MTCNN with a high score that YuNet misses."""

    def __init__(self, mtcnn: Detector, yunet: Detector) -> None:
        self._mtcnn, self._yunet = mtcnn, yunet

    def detect(self, images: Sequence[Image], min_faces: Sequence[float]) -> list[Faces]:
        """See `Detector.detect`."""
        mtcnn_faces = self._mtcnn.detect(images, min_faces)
        pairs = zip(self._yunet.detect(images, min_faces), mtcnn_faces, strict=True)
        return [joined(yunet, mtcnn[mtcnn.scores >= THOROUGH_MTCNN]) for yunet, mtcnn in pairs]


def joined(first: Faces, second: Faces) -> Faces:
    """Return all faces of `first`, plus those of `second` that `first` does not have, by descending score."""
    if not len(first) or not len(second):
        return first if len(first) else second
    new = is_new(second, first)
    names = ("boxes", "scores", "landmarks")
    boxes, scores, landmarks = (np.concatenate([getattr(first, name), getattr(second, name)[new]]) for name in names)
    both = Faces(boxes, scores, landmarks)
    return both[np.argsort(-both.scores, kind="stable")]


def is_new(second: Faces, first: Faces) -> NDArray[np.bool_]:
    """(N,) which faces of `second` are not among those of `first`."""
    if not len(first) or not len(second):
        return np.ones(len(second), np.bool_)
    start = np.maximum(second.boxes[:, None, :2], first.boxes[:, :2])
    end = np.minimum(second.boxes[:, None, 2:], first.boxes[:, 2:])
    shared = np.clip(end - start, 0, None).prod(2)
    areas = [(faces.boxes[:, 2:] - faces.boxes[:, :2]).prod(1) for faces in (second, first)]
    smaller, larger = np.minimum(areas[0][:, None], areas[1]), np.maximum(areas[0][:, None], areas[1])
    # A box inside another one shows the same face, too.
    return ((shared < SAME_FACE * (smaller + larger - shared)) & (shared < 0.7 * smaller)).all(1)
