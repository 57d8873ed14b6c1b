"""Which files in a folder are photos, and which are ignored.

In: a folder. Out: its photos in a stable order; files that are ignored are counted by reason.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
HEIC_SUFFIXES = frozenset({".heic", ".heif"})
JUNK_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


def junk_reason(name: str) -> str | None:
    """Why a file or folder of this name is ignored; None if it is not."""
    if name.startswith("._"):
        return "macOS shadow files (._*)"
    if name.startswith(".") or name.lower() in JUNK_NAMES:
        return "hidden and system files"
    return None


def photo_files(folder: Path, skipped: Counter[str]) -> Iterator[Path]:
    """Yield the photos directly in `folder`, sorted by name; count the other files in `skipped` by reason."""
    for entry in _sorted_entries(folder):
        if entry.is_dir():
            continue
        reason = junk_reason(entry.name)
        suffix = Path(entry.name).suffix.lower()
        if reason is None and entry.is_file():
            if suffix in PHOTO_SUFFIXES:
                yield Path(entry.path)
                continue
            reason = f"files that are no photos ({suffix or 'none'})"
            if suffix in HEIC_SUFFIXES:
                reason = "HEIC photos (convert them to JPEG first)"
        if reason is not None:
            skipped[reason] += 1


def subfolders(folder: Path, skipped: Counter[str]) -> Iterator[Path]:
    """Yield the folders directly in `folder`, sorted by name, without links; count ignored ones in `skipped`."""
    for entry in _sorted_entries(folder):
        if entry.is_dir(follow_symlinks=False):
            reason = junk_reason(entry.name)
            if reason is None:
                yield Path(entry.path)
            else:
                skipped[reason] += 1


def _sorted_entries(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of `folder`, sorted by name."""
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)
