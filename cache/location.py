"""Find the cache's folder: the option, else FACELINE_CACHE, else the user's cache folder."""

import os
import sys
from pathlib import Path

from cache.errors import CacheError


def cache_folder(option: str | Path | None = None) -> Path:
    """Return the cache's folder, which is only created by the first write.

    Args:
        option: a folder, or the URL of an object store; a URL gives the local folder that mirrors it.

    Raises:
        CacheError: no folder is named and this user has no home folder.
    """
    named = option or os.environ.get("FACELINE_CACHE")
    if named and "://" in str(named):
        from cache.remote import mirror_of

        return mirror_of(str(named), _user_folder())
    return with_home(named) if named else _user_folder()


def with_home(path: str | Path) -> Path:
    """The path with the user's home folder for a leading ~, which the shell leaves in --cache=~/crops."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 -- Path.expanduser fails on a file called ~name


def _user_folder() -> Path:
    try:
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "faceline"
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home()) / "faceline"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "faceline"
    except RuntimeError as error:  # a container's user without a home
        raise CacheError("this user has no home folder; name the cache with --cache DIR or FACELINE_CACHE") from error
