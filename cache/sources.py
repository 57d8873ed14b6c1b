"""Identify files by content: a source id is the sha256 of a file's bytes, whatever its name, folder or time."""

import errno
import hashlib
import stat
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

FILES_AT_ONCE = 16  # in one thread: enough to hide its start, few enough to share a small folder among threads


def hash_files(paths: Iterable[Path], *, threads: int = 4) -> dict[Path, str | OSError]:
    """Hash files; for a file that can't be read, the result holds its error, and the others go on.

    Args:
        paths: in any order; the result has each once, in the order of first appearance.
    """
    unique = list(dict.fromkeys(paths))
    parts = [unique[start : start + FILES_AT_ONCE] for start in range(0, len(unique), FILES_AT_ONCE)]
    with ThreadPoolExecutor(threads) as pool:
        hashed = pool.map(lambda part: [_hash(path) for path in part], parts)
        return dict(zip(unique, chain.from_iterable(hashed), strict=True))


def _hash(path: Path) -> str | OSError:
    try:
        # Opening a pipe waits for a writer, and a device may have no end.
        if not stat.S_ISREG(path.stat().st_mode):
            return OSError(errno.EINVAL, "not a regular file", str(path))
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return error
    except ValueError as error:  # a name with a NUL
        return OSError(errno.EINVAL, str(error), str(path))
