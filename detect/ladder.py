"""The ladder of detectors that finds the subject of each photo.

image -> first detector -> if it finds no subject, second detector -> then MTCNN on more contrast with lower thresholds
-> then the fallback, without a face; for a face that a table names, the table's box. A subject's `found_by` names the
step that found it. No torch is imported: the
runtime that `faceline export` writes has this module, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from detect.faces import Detector, Faces, Image
from detect.subject import Subject, choose_subject

# Offsets of x1, y1, x2, y2, in shares of a box's sides, that turn another detector's box into MTCNN's box of the same
# face, so that all crops have the same framing. Medians over 1,332 stand-in photos in which both find the subject.
OFFSETS = {"yunet": (0.015, 0.044, -0.045, -0.073)}
# O-Net refines that box, shrunk by this factor: IoU with MTCNN's box 0.88, without it 0.80.
REFINE_FACTOR, REFINE_SCORE, REFINE_OVERLAP = 0.9, 0.3, 0.5


class RefiningDetector(Detector, Protocol):
    """MTCNN, which can also correct the boxes of other detectors."""

    def refine_boxes(self, images: Sequence[Image], boxes: Sequence[NDArray[np.float32]], score: float) -> list[Faces]:
        """Run O-Net on one box (4,) per image; returns its face, or none where its score is below `score`."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the ladder."""

    name: str  # what `found_by` says
    detector: Detector
    min_subject: float  # smallest face that can be the subject, as a share of the photo's shorter side


class Ladder:
    """The steps, one after another, for those photos in which the earlier ones found no subject.

    Args:
        steps: the detectors as they are set, in order.
        retry: MTCNN with lower thresholds, for the last step and to correct other detectors' boxes.
        retry_min_subject: see `Step`, for the last step.
    """

    def __init__(self, steps: Sequence[Step], retry: RefiningDetector, retry_min_subject: float) -> None:
        self._steps = (*steps, Step("mtcnn-retry", _WithContrast(retry), retry_min_subject))
        self._retry = retry

    def find(self, images: Sequence[Image], are_parts: Sequence[bool] | None = None) -> list[Subject]:
        """Find the subject of each image, in order; of a part of a photo around a given face, only that face."""
        subjects: list[Subject | None] = [None] * len(images)
        parts = are_parts or [False] * len(images)
        for step in self._steps:
            self._try(step, images, parts, subjects)
        return [
            subject or (Subject.given(*image.shape[:2]) if is_part else Subject("fallback", faces=0))
            for subject, image, is_part in zip(subjects, images, parts, strict=True)
        ]

    def _try(
        self, step: Step, images: Sequence[Image], are_parts: Sequence[bool], subjects: list[Subject | None]
    ) -> None:
        """Run a step's detector on the images without a subject, and fill in those that it finds."""
        remaining = [index for index, subject in enumerate(subjects) if subject is None]
        min_faces = [max(step.min_subject * min(images[i].shape[:2]), 12.0) for i in remaining]
        faces_of_each = step.detector.detect([images[i] for i in remaining], min_faces)
        chosen: dict[int, Faces] = {}
        for index, faces in zip(remaining, faces_of_each, strict=True):
            height, width = images[index].shape[:2]
            number = choose_subject(faces, height, width, step.min_subject, is_part=are_parts[index])
            if number is not None:
                chosen[index] = faces[number : number + 1]
        # Those in a part of a photo say nothing about the photo.
        counts = {index: None if are_parts[index] else len(face) + face.others for index, face in chosen.items()}
        if step.name in OFFSETS:
            refined = in_mtcnns_framing(step.name, [images[i] for i in chosen], [*chosen.values()], self._retry)
            chosen = dict(zip(chosen, refined, strict=True))
        for index, face in chosen.items():
            subjects[index] = Subject.of_face(step.name, face, counts[index])


def in_mtcnns_framing(
    name: str, images: Sequence[Image], faces: Sequence[Faces], mtcnn: RefiningDetector
) -> list[Faces]:
    """Turn one face per image of another detector into MTCNN's: O-Net's if it confirms it, else a moved box.

    Args:
        name: of the detector, one of `OFFSETS`.
        images: one for each face; may repeat.
        faces: each with a single face.
        mtcnn: has O-Net.
    """
    boxes = [_moved(face.boxes[0], OFFSETS[name]) for face in faces]
    onet_faces = mtcnn.refine_boxes(images, [_shrunk(box) for box in boxes], REFINE_SCORE)
    return [
        refined if len(refined) and _iou(refined.boxes[0], box) >= REFINE_OVERLAP
        else Faces(box[None], face.scores, face.landmarks)
        for face, box, refined in zip(faces, boxes, onet_faces, strict=True)
    ]  # fmt: skip


class WholePhotos:
    """Takes each photo for a face that somebody has cut out, and finds nothing."""

    def find(self, images: Sequence[Image], are_parts: Sequence[bool] | None = None) -> list[Subject]:
        """Return the subject of each image: all of it, or the given face that a part of a photo is around."""
        parts = are_parts or [False] * len(images)
        return [
            Subject.given(*image.shape[:2]) if is_part else Subject.whole(*image.shape[:2])
            for image, is_part in zip(images, parts, strict=True)
        ]


def with_contrast(image: Image) -> Image:
    """Equalise the brightness of an image in tiles (CLAHE), for faces in shadow or against the light."""
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
    luma[..., 0] = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(luma[..., 0])
    return np.asarray(cv2.cvtColor(luma, cv2.COLOR_YCrCb2RGB), dtype=np.uint8)


class _WithContrast:
    """A detector that sees images with more contrast."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def detect(self, images: Sequence[Image], min_faces: Sequence[float]) -> list[Faces]:
        """See `Detector.detect`."""
        return self._detector.detect([with_contrast(image) for image in images], min_faces)


def _moved(box: NDArray[np.float32], offsets: tuple[float, float, float, float]) -> NDArray[np.float32]:
    return (box + np.array(offsets, np.float32) * np.tile(box[2:] - box[:2], 2)).astype(np.float32)


def _shrunk(box: NDArray[np.float32]) -> NDArray[np.float32]:
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * REFINE_FACTOR
    return np.concatenate([middle - half, middle + half]).astype(np.float32)


def _iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return the intersection over union of two boxes."""
    shared = float(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod())
    return shared / (float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()) - shared)
