"""From a photo to the crop of the face that the photo is about.

photo file -> RGB image -> Faces -> the subject's box -> window -> crop in the cache. Open `crops.py` first: it is the
whole way on one page. Nothing here knows about labels or classifiers.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detect.detector import FaceDetector
    from detect.faces import Faces

__all__ = ["FaceDetector", "Faces"]


def __getattr__(name: str) -> Any:
    # On first use only: importing the room must not import torch.
    if name == "FaceDetector":
        from detect.detector import FaceDetector

        return FaceDetector
    if name == "Faces":
        from detect.faces import Faces

        return Faces
    raise AttributeError(f"module 'detect' has no attribute {name!r}")
