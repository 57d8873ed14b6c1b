"""What a crop depends on, spelled out: the readable half of the cache's key.

DetectConfig + CropConfig + the networks' files -> the JSON object whose fingerprint names the folder of the crops.

Whatever changes a pixel of a crop stands in it; paths, times, batch sizes and devices do not. Nothing heavy is
imported, so that a second run can say "nothing to do" at once.
"""

import hashlib
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from cache.errors import UsageError
from detect.config import CropConfig, DetectConfig
from detect.decode import DECODE_VERSION, FORMATS, MAX_PIXELS

# Raise by hand when the same settings give other faces or other crops; tests/detect/test_golden.py fails until then.
DETECT_VERSION = 1
CROP_VERSION = 1


def detector_spec(detect: DetectConfig) -> dict[str, Any]:
    """Everything that decides which face is found in given bytes."""
    return {
        "algorithm": "mtcnn",
        "version": DETECT_VERSION,
        "decode": {"version": DECODE_VERSION, "formats": list(FORMATS), "max_pixels": MAX_PIXELS},
        "weights": network_digests(),
        "settings": detect.model_dump(mode="json", exclude={"batch"}),
    }


def crop_spec(detect: DetectConfig, crop: CropConfig) -> dict[str, Any]:
    """Everything that decides the bytes of a crop."""
    return {
        "detector": detector_spec(detect),
        "version": CROP_VERSION,
        "encoding": "jpeg 4:4:4",
        "settings": crop.model_dump(mode="json"),
    }


@cache
def network_digests() -> dict[str, str]:
    """sha256 of the weights of P-, R- and O-Net that facenet-pytorch ships.

    Raises:
        UsageError: facenet-pytorch is not installed.
    """
    package = importlib.util.find_spec("facenet_pytorch")
    if package is None or package.origin is None:
        raise UsageError("facenet-pytorch is not installed; install it with: pip install facenet-pytorch==2.5.3")
    weights = Path(package.origin).parent / "data"
    return {
        name: hashlib.sha256((weights / f"{name}.pt").read_bytes()).hexdigest() for name in ("pnet", "rnet", "onet")
    }
