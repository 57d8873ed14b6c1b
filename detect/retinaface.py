"""Find faces with RetinaFace, through the uniface package.

RGB images -> uniface's RetinaFace, one image at a time -> Faces.

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
HELP = (
    f"Name a file with --set detect.retinaface_weights=FOLDER/{NAME}, or download it once with a network connection: "
    f"uniface keeps it in ~/.uniface/models."
)


class RetinaFace:
    """RetinaFace on an NVIDIA GPU, where ONNX Runtime has support for it, or the CPU.

    Args:
        weights: a file named `NAME`; None for the one that uniface keeps or downloads.
        score: the minimum score of a face, between 0 and 1.
        device: "cpu" excludes the GPU.

    Raises:
        UsageError: uniface is not installed, or the weights are not available.
    """

    def __init__(self, weights: Path | None, score: float, device: str) -> None:
        if weights is not None:
            if weights.name != NAME or not weights.is_file():
                raise UsageError(f"{weights} is not a file named {NAME}, the weights that uniface reads.\n{HELP}")
            os.environ["UNIFACE_CACHE_DIR"] = str(weights.resolve().parent)
        try:
            uniface: Any = importlib.import_module("uniface")
        except ImportError as error:
            raise UsageError(
                f"detector retinaface needs the uniface package ({error}).\nInstall it without its own OpenCV, which "
                "would overwrite faceline's: pip install --no-deps uniface && "
                "pip install onnxruntime scikit-image requests tqdm"
            ) from error
        try:
            self._net = uniface.RetinaFace(confidence_threshold=score, providers=_providers(device))
        except (OSError, RuntimeError, ValueError) as error:  # a failed download is a ConnectionError, an OSError
            raise UsageError(f"RetinaFace's weights are not available: {error}.\n{HELP}") from error

    def detect(self, images: Sequence[Image], min_faces: Sequence[float]) -> list[Faces]:
        """Find the faces of each image, by descending score, none smaller than its `min_faces` pixels."""
        return [self._detect(image, size) for image, size in zip(images, min_faces, strict=True)]

    def _detect(self, image: Image, min_face: float) -> Faces:
        if min(image.shape[:2]) < min_face:
            return Faces.none()
        detected = self._net.detect(np.ascontiguousarray(image[..., ::-1]))  # BGR, as OpenCV reads it
        large = [f for f in detected if min(f.bbox[2] - f.bbox[0], f.bbox[3] - f.bbox[1]) >= min_face]
        if not large:
            return Faces.none()
        large.sort(key=lambda face: -face.confidence)
        return Faces(
            np.stack([face.bbox[:4] for face in large]).astype(np.float32),
            np.array([face.confidence for face in large], np.float32),
            np.stack([face.landmarks for face in large]).astype(np.float32),
        )


def _providers(device: str) -> list[str | tuple[str, dict[str, str]]]:
    """Return what ONNX Runtime may compute with: only in true float32, so that no crop depends on the device."""
    if device != "cpu":
        onnxruntime: Any = importlib.import_module("onnxruntime")
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            return [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]
