"""Which files in a folder are photos, and which are passed over.

In: a folder. Out: its photos in a stable order; whatever is passed over is counted by reason.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from detect.formats import PHOTO_SUFFIXES
from pipeline.intake.own_files import TABLES, is_own_table

JUNK_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
LINKED_FOLDERS = "links to folders"


def junk_reason(name: str) -> str | None:
    """Why a file or folder of this name is passed over; None if it is not."""
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
        path = Path(entry.path)
        reason = junk_reason(entry.name)
        if reason is None and entry.is_file():
            if path.suffix.lower() in PHOTO_SUFFIXES:
                yield path
                continue
            reason = other_file(path)
        skipped[
            reason or ("links that lead nowhere" if entry.is_symlink() else "files that are no photos (special)")
        ] += 1


def subfolders(folder: Path, skipped: Counter[str]) -> Iterator[Path]:
    """Yield the folders directly in `folder`, sorted by name, without links; count ignored ones in `skipped`."""
    for entry in _sorted_entries(folder):
        if entry.is_dir(follow_symlinks=False):
            reason = junk_reason(entry.name)
            if reason is None:
                yield Path(entry.path)
            else:
                skipped[reason] += 1


def linked_folders(folder: Path) -> list[Path]:
    """The links to folders that are directly in `folder`, sorted by name, without hidden ones."""
    entries = [entry for entry in _sorted_entries(folder) if entry.is_symlink() and entry.is_dir()]
    return [Path(entry.path) for entry in entries if junk_reason(entry.name) is None]


def skipped_text(skipped: Mapping[str, int]) -> str:
    """What was passed over, and how often, in one line; empty if nothing was."""
    return ", ".join(f"{reason}: {count:,}" for reason, count in sorted(skipped.items()))


def other_file(path: Path) -> str:
    """Why a file that is no photo by its name is passed over."""
    if path.name in TABLES and is_own_table(path):
        return f"faceline's own files ({path.name})"
    return f"files that are no photos ({path.suffix.lower() or 'no ending'})"


def _sorted_entries(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of `folder`, sorted by name."""
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)
