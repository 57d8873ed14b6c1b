"""Atomic writes of files and folders.

In: a path and its new content. Out: a reader sees the old file or the new one, never a partial one, even after the
process was killed or the power failed.
"""

import os
import shutil
import socket
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically, creating its folder; an OSError leaves an earlier file unchanged."""
    with staged_file(path) as staged:
        staged.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, in UTF-8."""
    write_bytes(path, text.encode())


@contextmanager
def staged_file(path: Path) -> Generator[Path]:
    """Yield a file to write beside `path`, which it replaces when the block succeeds; its folder is created.

    When the block fails, or the file can't be synced, an earlier file at `path` is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        yield staged
        with staged.open("rb+") as file:
            os.fsync(file.fileno())  # before the rename, as in `write_synced`
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that new names in it survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file and sync its content; the caller renames it or its folder."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        # Sync before the rename: otherwise ext4 may show a full-length file of zeros after a power cut.
        os.fsync(file.fileno())


def lock(opened: IO[bytes]) -> None:
    """Wait until no other process holds this file's lock, and hold it until the file is closed."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    fcntl.flock(opened, fcntl.LOCK_EX)


@contextmanager
def staged_folder(target: Path, root: Path) -> Generator[Path]:
    """Yield a folder that is renamed to `target` when the block succeeds, and deleted when it fails.

    The block syncs the files that it writes. If `target` exists by then, it is kept: the first writer wins.
    """
    staging = root / "tmp" / staging_name(target)
    try:
        staging.mkdir(parents=True)
        yield staging
        sync_folder(staging)
        make_folder(target.parent)
        try:
            staging.rename(target)
        except OSError:
            # Rename errors differ between systems, and a network disk may report one although the rename succeeded:
            # only the presence of the folder counts.
            if not target.is_dir():
                raise
        sync_folder(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, and sync their names, so that they survive a power cut."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def staging_name(target: Path) -> str:
    """Return a unique name for a file or folder in CACHE/tmp; it names the process, for `cache gc`."""
    return f"{target.name}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex}"
