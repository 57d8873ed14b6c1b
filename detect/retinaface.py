"""RetinaFace through the uniface package.

RGB images -> uniface's RetinaFace, each image by itself -> Faces.

Source: Deng et al., "RetinaFace: Single-stage Dense Face Localisation in the Wild", 2019.
"""

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import UsageError
from detect.faces import Faces, Image

NAME = "retinaface_mnet_v2.onnx"  # as uniface calls its weights
HOW = (
    f"Name a file with --set detect.retinaface_weights=FOLDER/{NAME}, or fetch it once where there is a network: "
    f"uniface keeps it in ~/.uniface/models."
)


class RetinaFace:
    """RetinaFace on a GPU or the CPU, wherever ONNX Runtime computes.

    Args:
        weights: the file `NAME`; None for the one that uniface keeps or fetches.
        score: the score between 0 and 1 that a face needs.
        device: "cpu" keeps it off the GPU.

    Raises:
        UsageError: uniface is not installed, or the weights are not to be had.
    """

    def __init__(self, weights: Path | None, score: float, device: str) -> None:
        if weights is not None:
            if weights.name != NAME or not weights.is_file():
                raise UsageError(f"{weights} is no file named {NAME}, the weights that uniface reads.\n{HOW}")
            os.environ["UNIFACE_CACHE_DIR"] = str(weights.resolve().parent)
        try:
            uniface: Any = importlib.import_module("uniface")
        except ImportError as error:
            raise UsageError(
                f"detector retinaface needs the uniface package ({error}).\nInstall it without its own OpenCV, which "
                "would overwrite faceline's: pip install --no-deps uniface && "
                "pip install onnxruntime scikit-image requests tqdm"
            ) from error
        providers = ["CPUExecutionProvider"] if device == "cpu" else None
        try:
            self._net = uniface.RetinaFace(confidence_threshold=score, providers=providers)
        except (OSError, RuntimeError, ValueError) as error:  # a failed download is a ConnectionError, an OSError
            raise UsageError(f"RetinaFace's weights can't be had: {error}.\n{HOW}") from error

    def detect(self, images: Sequence[Image], min_faces: Sequence[float]) -> list[Faces]:
        """The faces of each image, the most certain first, none smaller than its `min_faces` pixels."""
        return [self._detect(image, size) for image, size in zip(images, min_faces, strict=True)]

    def _detect(self, image: Image, min_face: float) -> Faces:
        if min(image.shape[:2]) < min_face:
            return Faces.none()
        seen = self._net.detect(np.ascontiguousarray(image[..., ::-1]))  # BGR, as OpenCV reads it
        faces = [one for one in seen if min(one.bbox[2] - one.bbox[0], one.bbox[3] - one.bbox[1]) >= min_face]
        if not faces:
            return Faces.none()
        faces.sort(key=lambda one: -one.confidence)
        return Faces(
            np.stack([one.bbox[:4] for one in faces]).astype(np.float32),
            np.array([one.confidence for one in faces], np.float32),
            np.stack([one.landmarks for one in faces]).astype(np.float32),
        )
