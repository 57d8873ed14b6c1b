"""The public names of faceline, loaded on first use.

    from faceline import FaceDetector, Predictor

The product lives in four packages with plain names, and a file of yours can stand before one of them on the import
path; then the import fails here with the name of that file.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

_HOME = Path(__file__).resolve().parent
_ROOMS = ("cache", "detect", "classify", "pipeline")
_PUBLIC = {
    "FaceDetector": "detect",
    "Faces": "detect",
    "Predictor": "pipeline.prediction.predictor",
    "FacelineError": "cache.errors",
    "UsageError": "cache.errors",
    "DataError": "cache.errors",
    "CacheError": "cache.errors",
    "BundleError": "cache.errors",
}
__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]: loaded on first use
    "BundleError",
    "CacheError",
    "DataError",
    "FaceDetector",
    "FacelineError",
    "Faces",
    "Predictor",
    "UsageError",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'faceline' has no attribute {name!r}")
    _refuse_shadows()
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return list(__all__)


def _refuse_shadows() -> None:
    """Raise when one of the four packages that would be imported is not ours."""
    for room in _ROOMS:
        loaded = sys.modules.get(room)
        spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(room)
        where = None if spec is None else spec.origin or next(iter(spec.submodule_search_locations or ()), None)
        if where is None or Path(where).resolve().parent.parent != _HOME:
            raise ImportError(
                f"faceline needs its own package {room!r}, but Python finds {where or 'none'}. "
                f"Rename that, or start from another folder; the command `faceline` works everywhere."
            )


_refuse_shadows()
