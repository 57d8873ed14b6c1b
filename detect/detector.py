"""Find faces in images, in one of three modes.

RGB images -> MTCNN, once or in steps, alone or with YuNet -> Faces of each image.

Source: Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks", 2016.
"""

import math
import re
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import torch

from cache.errors import UsageError
from detect.faces import Faces, Image
from detect.mtcnn import Mtcnn
from detect.subject import choose_subject
from detect.yunet import Yunet

Mode = Literal["exact", "portrait", "thorough"]
MODES: tuple[Mode, ...] = ("exact", "portrait", "thorough")


class Detector(Protocol):
    """What all face detectors have in common."""

    def detect(self, images: Sequence[Image], min_faces: Sequence[float]) -> list[Faces]:
        """Find the faces of each image, by descending score, none smaller than its `min_faces` pixels."""
        ...


class FaceDetector:
    """Finds faces in images with MTCNN.

    Args:
        min_face: shorter side of the smallest face to find, in pixels; 4 or more.
        thresholds: the score between 0 and 1 that each of the three networks requires.
        factor: ratio of the sizes of neighbouring pyramid levels, from 0.1 to 0.95.
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:n".
        mode: "exact" gives facenet-pytorch's faces; "portrait" only the subject, but fast; "thorough" also faces that
            MTCNN misses, most of them masked.
        batch: maximum number of images of one size in one pass; None for what suits the device.

    Raises:
        UsageError: an option is out of its range.
    """

    def __init__(
        self,
        min_face: float = 20,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        factor: float = 0.709,
        device: str = "auto",
        mode: Mode = "exact",
        batch: int | None = None,
    ) -> None:
        _check_options(min_face, thresholds, factor, mode, device, batch)
        self.min_face, self.mode, self._factor = min_face, mode, factor
        self._mtcnn = Mtcnn(thresholds, factor, device, batch=batch)
        if mode == "thorough":
            self._yunet = Yunet(THOROUGH_YUNET, torch.get_num_threads())
        self._find = {"exact": self._mtcnn.detect, "portrait": self._portrait, "thorough": self._thorough}[mode]

    def detect(self, images: Sequence[Image], min_faces: Sequence[float] | None = None) -> list[Faces]:
        """Find the faces of each image, by descending score; image sizes may differ.

        Args:
            images: RGB uint8, each (height, width, 3); one that is too small for a face has none.
            min_faces: one `min_face` per image, if they differ.

        Raises:
            UsageError: an image is not RGB uint8.
        """
        for number, image in enumerate(images):
            _check_image(number, image)
        return self._find(images, [self.min_face] * len(images) if min_faces is None else list(min_faces))

    def _portrait(self, images: Sequence[Image], min_faces: Sequence[float]) -> list[Faces]:
        """Find each image's subject: large faces first, smaller ones only if no large one has a high score."""
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
        steps = math.floor(math.log(max(min_face / self.min_face, 1)) / -math.log(self._factor))
        return self.min_face / self._factor**steps

    def _thorough(self, images: Sequence[Image], min_faces: Sequence[float]) -> list[Faces]:
        """Find YuNet's faces, plus those of MTCNN with a high score that YuNet misses."""
        mtcnn_faces = self._mtcnn.detect(images, min_faces)
        pairs = zip(self._yunet.detect(images, min_faces), mtcnn_faces, strict=True)
        return [_joined(yunet, mtcnn[mtcnn.scores >= THOROUGH_MTCNN]) for yunet, mtcnn in pairs]


# Of each step: the smallest face, as a share of the photo's shorter side, and the score that ends the search.
PORTRAIT_STEPS = ((0.3, 0.9), (0.12, 0.0))

# Scores that a face needs in thorough mode; chosen on street photos (docs/benchmarks.md).
THOROUGH_YUNET, THOROUGH_MTCNN = 0.6, 0.9
SAME_FACE = 0.4  # boxes with a larger IoU show the same face


def _joined(first: Faces, second: Faces) -> Faces:
    """Return all faces of `first`, plus those of `second` that `first` does not have, by descending score."""
    if not len(first) or not len(second):
        return first if len(first) else second
    start = np.maximum(second.boxes[:, None, :2], first.boxes[:, :2])
    end = np.minimum(second.boxes[:, None, 2:], first.boxes[:, 2:])
    shared = np.clip(end - start, 0, None).prod(2)
    areas = [(faces.boxes[:, 2:] - faces.boxes[:, :2]).prod(1) for faces in (second, first)]
    smaller, larger = np.minimum(areas[0][:, None], areas[1]), np.maximum(areas[0][:, None], areas[1])
    # A box inside another one shows the same face, too.
    new = ((shared < SAME_FACE * (smaller + larger - shared)) & (shared < 0.7 * smaller)).all(1)
    names = ("boxes", "scores", "landmarks")
    joined = Faces(*(np.concatenate([getattr(first, name), getattr(second, name)[new]]) for name in names))
    return joined[np.argsort(-joined.scores, kind="stable")]


def _check_options(
    min_face: float, thresholds: tuple[float, float, float], factor: float, mode: str, device: str, batch: int | None
) -> None:
    if not 4 <= min_face < float("inf"):
        raise UsageError(f"min_face is {min_face!r}; it must be a number of pixels, 4 or more")
    if len(thresholds) != 3 or not all(0 <= threshold <= 1 for threshold in thresholds):
        raise UsageError(f"thresholds is {thresholds!r}; it must be three numbers between 0 and 1")
    if not 0.1 <= factor <= 0.95:
        raise UsageError(f"factor is {factor!r}; it must lie between 0.1 and 0.95")
    if mode not in MODES:
        raise UsageError(f"mode is {mode!r}; it must be one of {', '.join(MODES)}")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise UsageError(f"device is {device!r}; it must be auto, cpu, cuda or cuda:n")
    if batch is not None and batch < 1:
        raise UsageError(f"batch is {batch!r}; it must be 1 or more")


def _check_image(number: int, image: object) -> None:
    if isinstance(image, np.ndarray):
        if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
            return
        actual = f"{image.dtype} of shape {image.shape}"
    else:
        actual = type(image).__name__
    raise UsageError(f"image {number} is {actual}; it must be an RGB uint8 array of shape (height, width, 3)")
