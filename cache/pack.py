"""Crops as one array for training: written once, shared by every worker through the page cache.

store + source ids + how to prepare a crop -> (N, *shape) uint8, read-only.

A pack is derived: it can be deleted at any time and is made again. Its key has the sha256 of every member crop, so
that it never outlives what it was made of.
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
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache import atomic
from cache.config import fingerprint
from cache.errors import CacheError
from cache.layout import unwritable_sentence
from cache.store import CropStore
from cache.unit import staged_folder

Pixels = NDArray[np.uint8]
Prepare = Callable[[bytes, Mapping[str, Any]], Pixels]
PIXELS, ABOUT = "pixels.npy", "pack.json"
ROWS_AT_ONCE = 256
READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}

# The packs that this process has checked or written: three tasks of one run share a pack and read it through once.
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
    """The prepared crops of `sources`, in their order.

    Args:
        store: holds the crops.
        sources: one id per row.
        shape: of one row.
        key: everything that `prepare` depends on.
        prepare: crop bytes and entry facts -> uint8 of `shape`.
        threads: that prepare.
        progress: called with the number of rows done since the last call.
        warn: called with a sentence when a damaged pack is made again.

    Returns:
        (N, *shape) uint8, read-only: a map of CACHE/packs/<key>/pixels.npy, or an array in memory where the cache
        can't be written.

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

    def rows() -> Iterator[tuple[int, Pixels]]:
        return _rows(store, sources, shape, prepare, threads, progress)

    try:
        with staged_folder(folder, store.root) as staging:
            digest = _write_rows(staging / PIXELS, rows(), (len(sources), *shape))
            described = {**about, "rows": len(sources), "sha256": digest}
            atomic.write_text(staging / ABOUT, json.dumps(described, indent=1, sort_keys=True) + "\n")
            _trusted.add(_state(staging / PIXELS))
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise CacheError(unwritable_sentence(store.root, error)) from error
        return _in_memory(rows(), (len(sources), *shape))
    if wrong := pack_damage(folder):
        raise CacheError(f"the pack {folder} is damaged: {wrong}. Delete that folder; it is made again when needed.")
    return _open(folder)


def pack_damage(folder: Path, *, again: bool = False) -> str:
    """What is wrong with the pack in `folder`, or nothing. It is read through once in a process, or `again`."""
    try:
        told = json.loads((folder / ABOUT).read_text(encoding="utf-8"))["sha256"]
        state = _state(folder / PIXELS)
        if again or state not in _trusted:
            with (folder / PIXELS).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != told:
                    return f"its sha256 is not the one in {ABOUT}"
            _trusted.add(state)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"can't be read: {error}"
    return ""


def packed_store(folder: Path) -> str:
    """The fingerprint of the crops that the pack in `folder` was made of; empty when it does not tell."""
    try:
        told = json.loads((folder / ABOUT).read_text(encoding="utf-8"))["store"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return told if isinstance(told, str) else ""


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
    """Each row with its place, unit by unit: a unit whose crops come from far is brought once."""

    def one(source: str) -> Pixels:
        row = prepare(store.read(source), store.crop(source).facts)
        if row.shape != shape or row.dtype != np.uint8:
            raise ValueError(f"a row of {row.dtype} {row.shape} where uint8 {shape} was promised")
        return row

    with ThreadPoolExecutor(threads) as pool:
        order = store.reading_order(sources)
        for start in range(0, len(sources), ROWS_AT_ONCE):
            part = order[start : start + ROWS_AT_ONCE]
            yield from zip(part, pool.map(one, (sources[place] for place in part)), strict=True)
            if progress is not None:
                progress(len(part))


def _write_rows(path: Path, rows: Iterator[tuple[int, Pixels]], shape: tuple[int, ...]) -> str:
    """Write a .npy file, each row at its place; returns its sha256.

    Written, not mapped: on a full disk a write raises, while a store into a map kills the process.
    """
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    start, row_bytes = header.tell(), math.prod(shape[1:])
    with path.open("x+b") as file:
        file.write(header.getvalue())
        for place, row in rows:
            file.seek(start + place * row_bytes)
            file.write(np.ascontiguousarray(row).data)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _in_memory(rows: Iterator[tuple[int, Pixels]], shape: tuple[int, ...]) -> Pixels:
    pixels = np.empty(shape, np.uint8)
    for place, row in rows:
        pixels[place] = row
    pixels.setflags(write=False)
    return pixels


def _state(pixels: Path) -> tuple[str, int, int, int]:
    """Changes with every change of the file, and stays when its folder is renamed."""
    told = pixels.stat()
    return str(told.st_dev), told.st_ino, told.st_size, told.st_mtime_ns
