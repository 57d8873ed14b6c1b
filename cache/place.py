"""Where the cache is."""

import os
import sys
from pathlib import Path


def cache_folder(option: Path | None = None) -> Path:
    """The cache's folder: the option, else FACELINE_CACHE, else the user's cache folder."""
    if option is not None:
        return option
    if named := os.environ.get("FACELINE_CACHE"):
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "faceline"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "faceline"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "faceline"
