"""Pack crops into one array for training, written once and shared by all workers through the page cache.

store + source ids + a function that prepares a crop -> (N, *shape) uint8, read-only.

A pack can be deleted at any time and is made again when needed. Its key includes the sha256 of each crop in it, so it
is never used for other crops.
"""

import errno
import hashlib
import io
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache import atomic
from cache.config import fingerprint
from cache.errors import CacheError
from cache.layout import unwritable_message
from cache.store import CropStore

Pixels = NDArray[np.uint8]
Prepare = Callable[[bytes, Mapping[str, Any]], Pixels]
PIXELS, ABOUT = "pixels.npy", "pack.json"
ROWS_AT_ONCE = 256
READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}

# Packs that this process has verified or written: the three tasks of a run share a pack and verify it once.
_trusted: set[tuple[str, int, int, int]] = set()


def pack(
    store: CropStore,
    sources: Sequence[str],
    shape: tuple[int, ...],
    key: Mapping[str, Any],
    prepare: Prepare,
    *,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> Pixels:
    """Return the prepared crops of `sources`, in their order, from a pack that is made if needed.

    Args:
        sources: one id per row.
        shape: the shape of one row.
        key: everything that `prepare` depends on, as JSON values.
        prepare: crop bytes and entry facts -> uint8 of `shape`.
        progress: called with the number of rows finished since the last call.
        warn: called with a message when a damaged pack is made again.

    Returns:
        (N, *shape) uint8, read-only: a memory map of CACHE/packs/<key>/pixels.npy, or an array in memory if the cache
        is read-only.

    Raises:
        CacheError: a crop is missing or damaged, or the disk is full.
    """
    members = [store.crop(source).sha256 for source in sources]
    about = {"store": store.fingerprint, "key": dict(key), "shape": list(shape)}
    folder = store.root / "packs" / fingerprint({**about, "members": members})[:32]
    if folder.exists():
        if not (wrong := pack_damage(folder)):
            return _open(folder)
        if warn is not None:
            warn(f"the pack {folder} is damaged ({wrong}) and is made again")
        shutil.rmtree(folder, ignore_errors=True)
    rows = partial(_rows, store, sources, shape, prepare, threads, progress)
    try:
        with atomic.staged_folder(folder, store.root) as staging:
            digest = _write_rows(staging / PIXELS, rows(), (len(sources), *shape))
            described = {**about, "rows": len(sources), "sha256": digest}
            atomic.write_text(staging / ABOUT, json.dumps(described, indent=1, sort_keys=True) + "\n")
            _trusted.add(_state(staging / PIXELS))
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise CacheError(unwritable_message(store.root, error)) from error
        return _in_memory(rows(), (len(sources), *shape))
    if wrong := pack_damage(folder):
        raise CacheError(f"the pack {folder} is damaged: {wrong}. Delete that folder; it is made again when needed.")
    return _open(folder)


def pack_damage(folder: Path, *, again: bool = False) -> str:
    """Describe what is wrong with a pack; empty if nothing. It is verified once per process, or `again`."""
    try:
        digest = json.loads((folder / ABOUT).read_text(encoding="utf-8"))["sha256"]
        state = _state(folder / PIXELS)
        if again or state not in _trusted:
            with (folder / PIXELS).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    return f"its sha256 is not the one in {ABOUT}"
            _trusted.add(state)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"can't be read: {error}"
    return ""


def packed_store(folder: Path) -> str:
    """Return the fingerprint of the crops that a pack was made from; empty if it can't be read."""
    try:
        crops = json.loads((folder / ABOUT).read_text(encoding="utf-8"))["store"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return crops if isinstance(crops, str) else ""


def _open(folder: Path) -> Pixels:
    try:
        return np.load(folder / PIXELS, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise CacheError(f"the pack {folder} can't be opened: {error}") from error


def _rows(
    store: CropStore,
    sources: Sequence[str],
    shape: tuple[int, ...],
    prepare: Prepare,
    threads: int,
    progress: Callable[[int], None] | None,
) -> Iterator[tuple[int, Pixels]]:
    """Yield each row's index and pixels, unit by unit, so that a unit in an object store is downloaded once."""

    def prepare_row(source: str) -> Pixels:
        row = prepare(store.read(source), store.crop(source).facts)
        if row.shape != shape or row.dtype != np.uint8:
            raise ValueError(f"a row of {row.dtype} {row.shape} where uint8 {shape} was expected")
        return row

    with ThreadPoolExecutor(threads) as pool:
        order = store.reading_order(sources)
        for start in range(0, len(sources), ROWS_AT_ONCE):
            part = order[start : start + ROWS_AT_ONCE]
            yield from zip(part, pool.map(prepare_row, (sources[index] for index in part)), strict=True)
            if progress is not None:
                progress(len(part))


def _write_rows(path: Path, rows: Iterator[tuple[int, Pixels]], shape: tuple[int, ...]) -> str:
    """Write a .npy file, each row at its index; returns its sha256.

    Not through a memory map: on a full disk a write raises an error, while a store into a map kills the process.
    """
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    start, row_bytes = header.tell(), math.prod(shape[1:])
    with path.open("x+b") as file:
        file.write(header.getvalue())
        for index, row in rows:
            file.seek(start + index * row_bytes)
            file.write(np.ascontiguousarray(row).data)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _in_memory(rows: Iterator[tuple[int, Pixels]], shape: tuple[int, ...]) -> Pixels:
    pixels = np.empty(shape, np.uint8)
    for index, row in rows:
        pixels[index] = row
    pixels.setflags(write=False)
    return pixels


def _state(pixels: Path) -> tuple[str, int, int, int]:
    """Return a value that changes when the file changes, but not when its folder is renamed."""
    stat = pixels.stat()
    return str(stat.st_dev), stat.st_ino, stat.st_size, stat.st_mtime_ns
