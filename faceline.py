"""The public names of faceline, loaded on first use.

    from faceline import FaceDetector, Predictor

faceline's four packages have plain names. A file of yours with one of these names can come first on the import path;
then the import fails here, and the error names that file.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

_HOME = Path(__file__).resolve().parent
_PACKAGES = ("cache", "detect", "classify", "pipeline")
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
__all__ = list(_PUBLIC)  # pyright: ignore[reportUnsupportedDunderAll]: loaded on first use


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'faceline' has no attribute {name!r}")
    _refuse_shadows()
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    """List the public names, also those not loaded yet."""
    return list(__all__)


def _refuse_shadows() -> None:
    """Raise ImportError if Python would import another package in place of one of the four."""
    for package in _PACKAGES:
        loaded = sys.modules.get(package)
        spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(package)
        path = None if spec is None else spec.origin or next(iter(spec.submodule_search_locations or ()), None)
        if path is None or Path(path).resolve().parent.parent != _HOME:
            raise ImportError(
                f"faceline needs its own package {package!r}, but Python finds {path or 'none'}. "
                f"Rename that, or start from another folder; the command `faceline` works everywhere."
            )


_refuse_shadows()
