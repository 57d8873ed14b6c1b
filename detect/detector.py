"""Find faces in images, in one of three modes.

RGB images -> MTCNN, once or in steps, alone or with YuNet -> Faces of each image.

Source: Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks", 2016.
"""

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from cache.errors import UsageError
from detect.faces import Detector, Faces, Image
from detect.modes import MIN_FACE, THOROUGH_YUNET, PortraitMode, ThoroughMode
from detect.mtcnn import Mtcnn
from detect.yunet import Yunet

Mode = Literal["exact", "portrait", "thorough"]
MODES: tuple[Mode, ...] = ("exact", "portrait", "thorough")


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
        min_face: float = MIN_FACE,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        factor: float = 0.709,
        device: str = "auto",
        mode: Mode = "exact",
        batch: int | None = None,
    ) -> None:
        _check_options(min_face, thresholds, factor, mode, device, batch)
        self.min_face, self.mode = min_face, mode
        self._mtcnn = Mtcnn(thresholds, factor, device, batch=batch)
        self._detector: Detector = self._mtcnn
        if mode == "portrait":
            self._detector = PortraitMode(self._mtcnn, min_face, factor)
        elif mode == "thorough":
            self._detector = ThoroughMode(self._mtcnn, Yunet(THOROUGH_YUNET, torch.get_num_threads()))

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
        return self._detector.detect(images, [self.min_face] * len(images) if min_faces is None else list(min_faces))


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
