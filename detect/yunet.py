"""YuNet, a small detector that has seen many masks.

RGB images -> scaled until the smallest face in question is `SIDE` pixels -> OpenCV's FaceDetectorYN -> Faces.

Source: Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import local
from typing import Any

import cv2
import numpy as np

from detect.faces import Faces, Image
from detect.spec import yunet_weights

SIDE = 30  # faces of that many pixels are found as well as larger ones
ENLARGED = 1.5  # at most; finer detail than the photo has does not help
OVERLAP = 0.3  # of two boxes that overlap more, the less certain one goes
MOST = 5000  # boxes that are looked at in one image


class Yunet:
    """YuNet on the CPU, an image in each thread at a time.

    Args:
        score: the score between 0 and 1 that a face needs.
        threads: images that are worked on at a time.

    Raises:
        UsageError: the weights are not there.
    """

    def __init__(self, score: float = 0.6, threads: int = 1) -> None:
        self._score, self._weights = score, str(yunet_weights())
        self._own = local()
        self._pool = ThreadPoolExecutor(threads, "yunet")

    def detect(self, images: Sequence[Image], min_faces: Sequence[float]) -> list[Faces]:
        """The faces of each image, the most certain first, none smaller than its `min_faces` pixels."""
        return list(self._pool.map(self._detect, images, min_faces))

    def _detect(self, image: Image, min_face: float) -> Faces:
        height, width = image.shape[:2]
        if min(height, width) < min_face:
            return Faces.none()
        factor = min(SIDE / min_face, ENLARGED)
        size = (max(round(width * factor), 1), max(round(height * factor), 1))
        scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
        if not hasattr(self._own, "net"):
            self._own.net = cv2.FaceDetectorYN.create(self._weights, "", size, self._score, OVERLAP, MOST)
        net: Any = self._own.net
        net.setInputSize(size)
        _, rows = net.detect(cv2.cvtColor(scaled, cv2.COLOR_RGB2BGR))
        if rows is None:
            return Faces.none()
        scale = np.array([width / size[0], height / size[1]], np.float32)
        starts, sides = rows[:, :2] * scale, rows[:, 2:4] * scale
        large = sides.min(1) >= min_face
        order = np.flatnonzero(large)[np.argsort(-rows[large, 14], kind="stable")]
        boxes = np.concatenate([starts, starts + sides], 1)[order]
        return Faces(boxes, rows[order, 14], rows[order, 4:14].reshape(-1, 5, 2) * scale)
