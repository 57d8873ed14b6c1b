"""Where the cache is: the option, else FACELINE_CACHE, else the user's cache folder."""

import os
import sys
from pathlib import Path

from cache.errors import CacheError


def cache_folder(option: Path | None = None) -> Path:
    """The cache's folder; it is not made before something is written.

    Raises:
        CacheError: nothing names a folder and this user has no home.
    """
    if option is not None:
        return option
    if named := os.environ.get("FACELINE_CACHE"):
        return Path(named)
    try:
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "faceline"
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home()) / "faceline"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "faceline"
    except RuntimeError as error:  # a container's user without a home
        raise CacheError("this user has no home folder; name the cache with --cache DIR or FACELINE_CACHE") from error
