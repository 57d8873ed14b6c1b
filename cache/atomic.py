"""Write a file whole or not at all.

A reader sees the old file or the new one, never half of one, also after a kill or a power cut.
"""

import os
import uuid
from pathlib import Path


def write_bytes(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step; the folder is made when it is missing.

    Raises:
        OSError: the disk is full or the folder can't be written; what stood at `path` before stands there still.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with staged.open("wb") as file:
            file.write(content)
            file.flush()
            # Before the rename: after a power cut, ext4 may otherwise show a full-length file of zeros.
            os.fsync(file.fileno())
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` for text, in UTF-8."""
    write_bytes(path, text.encode())


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
