"""Which files in a folder are photos, and which are junk.

folder -> photo files in a stable order, and how many others were passed over and why.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
HEIC_SUFFIXES = frozenset({".heic", ".heif"})
JUNK_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


def junk_reason(name: str) -> str | None:
    """Why a file or folder of this name is passed over; None when it may be looked at."""
    if name.startswith("._"):
        return "macOS shadow files (._*)"
    if name.startswith(".") or name.lower() in JUNK_NAMES:
        return "hidden and system files"
    return None


def photo_files(folder: Path, skipped: Counter[str]) -> Iterator[Path]:
    """The photos directly in `folder`, sorted by name; what is passed over is counted in `skipped`."""
    for entry in _sorted(folder):
        if entry.is_dir():
            continue
        reason = junk_reason(entry.name)
        suffix = Path(entry.name).suffix.lower()
        if reason is None and entry.is_file():
            if suffix in PHOTO_SUFFIXES:
                yield Path(entry.path)
                continue
            heic = suffix in HEIC_SUFFIXES
            reason = (
                "HEIC photos (convert them to JPEG first)" if heic else f"files that are no photos ({suffix or 'none'})"
            )
        if reason is not None:
            skipped[reason] += 1


def subfolders(folder: Path, skipped: Counter[str]) -> Iterator[Path]:
    """The folders directly in `folder`, sorted by name."""
    for entry in _sorted(folder):
        if entry.is_dir(follow_symlinks=False):
            reason = junk_reason(entry.name)
            if reason is None:
                yield Path(entry.path)
            else:
                skipped[reason] += 1


def find_file(folder: Path, name: str) -> Path:
    """The file called `name`, under whichever Unicode form the disk has it; `folder / name` when there is none."""
    plain = folder / name
    if plain.exists():
        return plain
    for form in ("NFC", "NFD"):
        other = folder / unicodedata.normalize(form, name)
        if other.exists():
            return other
    return plain


def _sorted(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)
