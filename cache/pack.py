"""Crops as one array for training: written once, shared by every worker through the page cache.

store + source ids + how to prepare a crop -> (N, *shape) uint8, read-only.

A pack is derived: it can be deleted at any time and is made again. Its key has the sha256 of every member crop, so
that it never outlives what it was made of.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache import atomic
from cache.config import fingerprint
from cache.errors import CacheError
from cache.store import CropStore

Pixels = NDArray[np.uint8]
Prepare = Callable[[bytes, Mapping[str, Any]], Pixels]
ROWS_AT_ONCE = 256


def pack(
    store: CropStore,
    sources: Sequence[str],
    shape: tuple[int, ...],
    key: Mapping[str, Any],
    prepare: Prepare,
    *,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Pixels:
    """The prepared crops of `sources`, in their order.

    Args:
        store: holds the crops.
        sources: one id per row.
        shape: of one row.
        key: everything that `prepare` depends on.
        prepare: crop bytes and entry facts -> uint8 of `shape`.
        threads: that prepare.
        progress: called with the number of rows done.

    Returns:
        (N, *shape) uint8: a read-only map of CACHE/packs/<key>/pixels.npy; an array in memory where the cache can't be
        written.

    Raises:
        CacheError: a crop is missing or damaged, or the disk is full.
    """
    members = [(entry.sha256 if (entry := store.entry(source)) else "") for source in sources]
    name = fingerprint({"store": store.fingerprint, "key": dict(key), "shape": list(shape), "members": members})
    folder = store.root / "packs" / name[:32]
    ready = _open_checked(folder, (len(sources), *shape))
    if ready is not None:
        return ready
    staging = store.root / "tmp" / f"pack.{name[:16]}.{os.getpid()}.{uuid.uuid4().hex}"
    try:
        staging.mkdir(parents=True)
    except OSError:  # a read-only cache
        memory = np.zeros((len(sources), *shape), np.uint8)
        _fill(memory, store, sources, prepare, threads, progress)
        return memory
    try:
        pixels = np.lib.format.open_memmap(staging / "pixels.npy", "w+", np.uint8, (len(sources), *shape))
        # Blocks are claimed now: on a full disk, writing to a hole in a map kills the process instead of raising.
        if hasattr(os, "posix_fallocate"):
            with (staging / "pixels.npy").open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, pixels.offset + pixels.nbytes)
        _fill(pixels, store, sources, prepare, threads, progress)
        pixels.flush()
        described = {"sha256": _digest(staging / "pixels.npy"), "rows": len(sources), "key": dict(key)}
        atomic.write_text(staging / "pack.json", json.dumps(described, indent=1))
        folder.parent.mkdir(exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        staging.rename(folder)
    except OSError as error:
        raise CacheError(
            f"cannot pack crops in {store.root}: {error.strerror}. Make room there or use another --cache DIR."
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return np.load(folder / "pixels.npy", mmap_mode="r")


def _fill(
    pixels: Pixels,
    store: CropStore,
    sources: Sequence[str],
    prepare: Prepare,
    threads: int,
    progress: Callable[[int], None] | None,
) -> None:
    entries = store.entries()

    def one(source: str) -> Pixels:
        return prepare(store.read(source), entries[source].facts)

    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(sources), ROWS_AT_ONCE):
            part = sources[start : start + ROWS_AT_ONCE]
            for row, prepared in enumerate(pool.map(one, part), start):
                pixels[row] = prepared
            if progress is not None:
                progress(len(part))


def _open_checked(folder: Path, shape: tuple[int, ...]) -> Pixels | None:
    """The pack, when it is there and as it was written."""
    try:
        described = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
        if _digest(folder / "pixels.npy") != described["sha256"]:
            return None
        pixels = np.load(folder / "pixels.npy", mmap_mode="r")
    except (OSError, ValueError, KeyError):
        return None
    return pixels if pixels.shape == shape else None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
