"""Find the subject of every photo, whatever it takes.

image -> MTCNN -> where it finds no subject, a second try that looks harder -> where that fails too, the window in which
portraits have their face. Each photo's `found_by` says on which step it ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from detect.config import CropConfig, DetectConfig
from detect.faces import Faces, Image
from detect.mtcnn import FaceDetector
from detect.subject import choose_subject
from detect.window import Window, fallback_window, window_around

STEPS = ("mtcnn", "mtcnn-retry", "fallback")


@dataclass(frozen=True, slots=True)
class Subject:
    """The one face that a photo is about, or the window where it is expected.

    Attributes:
        found_by: the step of the ladder, one of `STEPS`.
        window: what is cut from the photo.
        box: x1, y1, x2, y2 of the face; None for the fallback.
        score: the detector's score of that face; None for the fallback.
        landmarks: five (x, y); None for the fallback.
    """

    found_by: str
    window: Window
    box: tuple[float, float, float, float] | None = None
    score: float | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None

    def facts(self) -> dict[str, Any]:
        """What the cache keeps about the crop."""
        return {
            "found_by": self.found_by,
            "window": self.window.as_list(),
            "box": None if self.box is None else [round(v, 2) for v in self.box],
            "score": None if self.score is None else round(self.score, 5),
            "landmarks": None if self.landmarks is None else [[round(x, 2), round(y, 2)] for x, y in self.landmarks],
        }


class SubjectFinder:
    """The ladder, with its networks loaded once."""

    def __init__(self, detect: DetectConfig, crop: CropConfig, device: str) -> None:
        self._detect, self._crop = detect, crop
        self._first = FaceDetector(
            thresholds=detect.thresholds, factor=detect.factor, device=device, batch=detect.batch
        )
        self._second = FaceDetector(
            thresholds=detect.retry_thresholds, factor=detect.factor, device=device, batch=detect.batch
        )

    def find(self, images: Sequence[Image]) -> list[Subject]:
        """The subject of each image, in order."""
        found = self._try(self._first, images, self._detect.min_subject, "mtcnn")
        missed = [index for index, subject in enumerate(found) if subject is None]
        harder = [with_contrast(images[index]) for index in missed]
        again = self._try(self._second, harder, self._detect.retry_min_subject, "mtcnn-retry")
        for index, subject in zip(missed, again, strict=True):
            found[index] = subject
        return [
            subject or Subject("fallback", fallback_window(image.shape[0], image.shape[1]))
            for subject, image in zip(found, images, strict=True)
        ]

    def _try(
        self, detector: FaceDetector, images: Sequence[Image], min_subject: float, step: str
    ) -> list[Subject | None]:
        min_faces = [max(min_subject * min(image.shape[:2]), 12.0) for image in images]
        every = detector.detect(images, min_faces)
        return [self._subject(faces, image, min_subject, step) for faces, image in zip(every, images, strict=True)]

    def _subject(self, faces: Faces, image: Image, min_subject: float, step: str) -> Subject | None:
        index = choose_subject(faces, image.shape[0], image.shape[1], min_subject)
        if index is None:
            return None
        x1, y1, x2, y2 = (float(v) for v in faces.boxes[index])
        landmarks = tuple((float(x), float(y)) for x, y in faces.landmarks[index])
        window = window_around((x1, y1, x2, y2), self._crop)
        return Subject(step, window, (x1, y1, x2, y2), float(faces.scores[index]), landmarks)


def with_contrast(image: Image) -> Image:
    """The image with its brightness equalised in tiles (CLAHE), for faces in shadow or against the light."""
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
    luma[..., 0] = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(luma[..., 0])
    return np.asarray(cv2.cvtColor(luma, cv2.COLOR_YCrCb2RGB), dtype=np.uint8)
