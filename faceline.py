"""The public names of faceline, loaded on first use; `python -m faceline` is the command line.

    from faceline import FaceDetector, Predictor

faceline's four packages have plain names. A file of yours with one of these names can come first on the import path;
then the import fails here, and the error names that file.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from cache.errors import BundleError, CacheError, DataError, DetectionError, FacelineError, UsageError
    from detect import FaceDetector, Faces
    from pipeline.prediction.prediction import Prediction, PredictionList, TaskPrediction
    from pipeline.prediction.predictor import Predictor

    __version__: str

__all__ = [
    "BundleError",
    "CacheError",
    "DataError",
    "DetectionError",
    "FaceDetector",
    "FacelineError",
    "Faces",
    "Prediction",
    "PredictionList",
    "Predictor",
    "TaskPrediction",
    "UsageError",
    "__version__",
]

_HOME = Path(__file__).resolve().parent
_PACKAGES = ("cache", "detect", "classify", "pipeline")
_MODULES = {
    "FaceDetector": "detect",
    "Faces": "detect",
    "Predictor": "pipeline.prediction.predictor",
    **dict.fromkeys(("Prediction", "PredictionList", "TaskPrediction"), "pipeline.prediction.prediction"),
    **dict.fromkeys(
        ("FacelineError", "UsageError", "DataError", "CacheError", "DetectionError", "BundleError"), "cache.errors"
    ),
}

if not TYPE_CHECKING:  # type checkers know the names from the imports above, and refuse all others

    def __getattr__(name: str) -> "Any":
        """Import a public name on first use."""
        if name == "__version__":
            return _version()
        if name not in _MODULES:
            raise AttributeError(f"module 'faceline' has no attribute {name!r}")
        _refuse_shadows()
        return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """List the public names, also those not loaded yet."""
    return list(__all__)


def _version() -> str:
    """The installed version, or "unknown" in a checkout that is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("faceline")
    except PackageNotFoundError:
        return "unknown"


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


# `python -m` puts the current folder first on the path, where the user may have a file called like one of our packages.
if __name__ == "__main__" and not sys.flags.safe_path and Path(sys.path[0]).resolve() != _HOME:
    del sys.path[0]

_refuse_shadows()

if __name__ == "__main__":
    from pipeline.commands.app import main

    main()
