"""Find the subject of every photo, whatever it takes.

image -> the detector -> where it finds no subject, another one -> where that fails, MTCNN looking harder -> where that
fails too, the window in which portraits have their face. Each photo's `found_by` says on which step it ended.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from detect.config import DetectConfig
from detect.detector import Detector, FaceDetector
from detect.faces import Faces, Image
from detect.mtcnn import Mtcnn
from detect.retinaface import RetinaFace
from detect.subject import Subject, choose_subject
from detect.yunet import Yunet

# What to add to x1, y1, x2, y2 of a detector's box, in shares of its sides, to have MTCNN's box of the same face, so
# that all crops are framed alike. Medians over 1,332 stand-in photos in which both find the subject.
FRAMES = {"yunet": (0.015, 0.044, -0.045, -0.073)}
# O-Net starts from that box shrunk to this share and settles on its own: IoU with MTCNN's box 0.88, without 0.80.
SETTLE_FROM, SETTLE_SCORE, SETTLE_OVERLAP = 0.9, 0.3, 0.5


class SubjectFinder:
    """The ladder, with its networks loaded once.

    Raises:
        UsageError: a detector's weights or its package are not there.
    """

    def __init__(self, detect: DetectConfig, device: str, threads: int = 1) -> None:
        self._detect = detect
        self._harder = Mtcnn(detect.retry_thresholds, detect.factor, device, batch=detect.batch)
        self._looks: list[tuple[str, Detector, float]] = [
            (name, _detector(name, detect, device, threads), min_subject)
            for name, min_subject in ((detect.detector, detect.min_subject), (detect.second, detect.retry_min_subject))
            if name != "none"
        ]

    def find(self, images: Sequence[Image]) -> list[Subject]:
        """The subject of each image, in order."""
        found: list[Subject | None] = [None] * len(images)
        for name, detector, min_subject in self._looks:
            self._try(name, detector, min_subject, images, found)
        self._try("mtcnn-retry", _WithContrast(self._harder), self._detect.retry_min_subject, images, found)
        return [subject or Subject("fallback") for subject in found]

    def _try(
        self, name: str, detector: Detector, min_subject: float, images: Sequence[Image], found: list[Subject | None]
    ) -> None:
        """Look for the subjects that are still missing."""
        left = [index for index, subject in enumerate(found) if subject is None]
        several = detector.detect(
            [images[i] for i in left], [max(min_subject * min(images[i].shape[:2]), 12.0) for i in left]
        )
        chosen = [
            choose_subject(f, images[i].shape[0], images[i].shape[1], min_subject)
            for i, f in zip(left, several, strict=True)
        ]
        picked = {
            i: faces[number : number + 1]
            for i, faces, number in zip(left, several, chosen, strict=True)
            if number is not None
        }
        if name in FRAMES:
            picked = dict(
                zip(picked, self._settled(name, [images[i] for i in picked], [*picked.values()]), strict=True)
            )
        for index, face in picked.items():
            found[index] = Subject.of_face(name, face)

    def _settled(self, name: str, images: Sequence[Image], faces: Sequence[Faces]) -> list[Faces]:
        """Another detector's faces with MTCNN's kind of box, and O-Net's own box and landmarks where it sees a face."""
        boxes = [_reframed(face.boxes[0], FRAMES[name]) for face in faces]
        several = self._harder.settle(images, [_shrunk(box) for box in boxes], SETTLE_SCORE)
        return [
            settled if len(settled) and _overlap(settled.boxes[0], box) >= SETTLE_OVERLAP
            else Faces(box[None], face.scores, face.landmarks)
            for face, box, settled in zip(faces, boxes, several, strict=True)
        ]  # fmt: skip


def with_contrast(image: Image) -> Image:
    """The image with its brightness equalised in tiles (CLAHE), for faces in shadow or against the light."""
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
    luma[..., 0] = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(luma[..., 0])
    return np.asarray(cv2.cvtColor(luma, cv2.COLOR_YCrCb2RGB), dtype=np.uint8)


class _WithContrast:
    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def detect(self, images: Sequence[Image], min_faces: Sequence[float]) -> list[Faces]:
        return self._detector.detect([with_contrast(image) for image in images], min_faces)


def _detector(name: str, detect: DetectConfig, device: str, threads: int) -> Detector:
    if name == "yunet":
        return Yunet(detect.yunet_score, threads)
    if name == "retinaface":
        return RetinaFace(detect.retinaface_weights, detect.retinaface_score, device)
    return FaceDetector(
        thresholds=detect.thresholds, factor=detect.factor, device=device, mode=detect.mode, batch=detect.batch
    )


def _reframed(box: NDArray[np.float32], frame: tuple[float, float, float, float]) -> NDArray[np.float32]:
    sides = np.tile(box[2:] - box[:2], 2)
    return (box + np.array(frame, np.float32) * sides).astype(np.float32)


def _shrunk(box: NDArray[np.float32]) -> NDArray[np.float32]:
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * SETTLE_FROM
    return np.concatenate([middle - half, middle + half]).astype(np.float32)


def _overlap(one: NDArray[np.float32], two: NDArray[np.float32]) -> float:
    """Intersection over union."""
    shared = float(np.clip(np.minimum(one[2:], two[2:]) - np.maximum(one[:2], two[:2]), 0, None).prod())
    return shared / (float((one[2:] - one[:2]).prod() + (two[2:] - two[:2]).prod()) - shared)
