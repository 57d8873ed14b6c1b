"""From photos to crops of their subjects' faces.

photo file -> RGB image -> Faces -> the subject's box -> window -> crop in the cache. Open `crops.py` first: it connects
all the steps. Nothing here knows about labels or classifiers.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detect.detector import FaceDetector
    from detect.faces import Faces

# OpenVINO's converter would report each use to its makers, without asking, and take a second for it.
sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]

__all__ = ["FaceDetector", "Faces"]


def __getattr__(name: str) -> Any:
    # On first use only: importing the package must not import torch.
    modules = {"FaceDetector": "detect.detector", "Faces": "detect.faces"}
    if name in modules:
        return getattr(importlib.import_module(modules[name]), name)
    raise AttributeError(f"module 'detect' has no attribute {name!r}")
