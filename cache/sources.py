"""Who is who among files: a source id is the sha256 of a file's bytes, whatever its name, place or time."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def hash_files(paths: Iterable[Path], *, threads: int = 4) -> dict[Path, str | OSError]:
    """The source id of every file, or the error of one that can't be read; one bad file does not stop the others."""
    unique = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(threads) as pool:
        return dict(zip(unique, pool.map(_hash, unique, chunksize=64), strict=True))


def _hash(path: Path) -> str | OSError:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return error
