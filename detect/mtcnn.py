"""MTCNN over batches of images of any sizes.

RGB images -> Faces, through facenet-pytorch's three networks and their published weights.

Source: Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks", 2016.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from facenet_pytorch import MTCNN

from detect.faces import Faces, Image

NET_SIDE = 12  # P-Net's window: a face of min_face pixels is shrunk to it


class FaceDetector:
    """Finds all faces in images.

    Args:
        min_face: shorter side of the smallest face that is looked for, in pixels.
        thresholds: the score that each of the three networks asks for.
        factor: ratio of the sizes of neighbouring pyramid levels.
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:n".
        batch: at most this many images of one size in one pass.
    """

    def __init__(
        self,
        min_face: float = 20,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        factor: float = 0.709,
        device: str = "auto",
        batch: int = 32,
    ) -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.min_face = min_face
        self.batch = batch
        self._networks: Any = MTCNN(
            keep_all=True,
            thresholds=list(thresholds),
            factor=factor,
            device=torch.device(device),
        ).eval()

    def detect(self, images: Sequence[Image], min_faces: Sequence[float] | None = None) -> list[Faces]:
        """The faces of each image, in the order of `images`; sizes may differ.

        Args:
            images: RGB uint8, each (height, width, 3).
            min_faces: one `min_face` per image, where they differ.
        """
        sizes = [self.min_face] * len(images) if min_faces is None else list(min_faces)
        alike: dict[tuple[tuple[int, ...], float], list[int]] = defaultdict(list)
        for index, (image, size) in enumerate(zip(images, sizes, strict=True)):
            alike[image.shape, size].append(index)
        found = [Faces.none()] * len(images)
        for (shape, size), members in alike.items():
            if min(shape[:2]) < size or min(shape[:2]) < NET_SIDE:
                continue  # no face of that size fits, and facenet-pytorch raises on an empty pyramid
            for start in range(0, len(members), self.batch):
                part = members[start : start + self.batch]
                for index, faces in zip(part, self._detect_alike([images[i] for i in part], size), strict=True):
                    found[index] = faces
        return found

    def _detect_alike(self, images: list[Image], min_face: float) -> list[Faces]:
        self._networks.min_face_size = min_face
        try:
            boxes, scores, landmarks = self._networks.detect(np.stack(images), landmarks=True)
        except (RuntimeError, IndexError, ValueError):
            # facenet-pytorch drops candidates that lie outside the image without dropping their boxes, and then
            # raises. One such image must not take its batch along, and alone it has no face.
            if len(images) == 1:
                return [Faces.none()]
            return [faces for image in images for faces in self._detect_alike([image], min_face)]
        return [_faces(*one) for one in zip(boxes, scores, landmarks, strict=True)]


def _faces(boxes: np.ndarray | None, scores: np.ndarray, landmarks: np.ndarray | None) -> Faces:
    if boxes is None or landmarks is None:
        return Faces.none()
    order = np.argsort(-scores.astype(np.float32), kind="stable")
    return Faces(boxes[order].astype(np.float32), scores[order].astype(np.float32), landmarks[order].astype(np.float32))
