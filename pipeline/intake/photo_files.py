"""Which files in a folder are photos, and which are passed over.

In: a folder. Out: its photos in a stable order; whatever is passed over is counted by reason.
"""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Listing:
    """What is directly in a folder, in the order of names.

    Attributes:
        photos: the files that are photos by their names.
        links: those of the photos that are links.
        folders: the folders, without links and hidden ones.
        linked_folders: the links to folders.
        other_files, other_folders: reason for passing something over -> how often.
        names: all names.
    """

    photos: list[Path]
    links: set[Path]
    folders: list[Path]
    linked_folders: list[Path]
    other_files: Counter[str]
    other_folders: Counter[str]
    names: set[str]


def list_folder(folder: Path) -> Listing:
    """Read a folder once; nothing in it is opened, except for tables that could be faceline's own."""
    found = Listing([], set(), [], [], Counter(), Counter(), set())
    with os.scandir(folder) as unsorted:
        entries = sorted(unsorted, key=lambda entry: entry.name)
    for entry in entries:
        path, reason, is_link = Path(entry.path), junk_reason(entry.name), entry.is_symlink()
        found.names.add(entry.name)
        if entry.is_dir():
            if reason is None:
                (found.linked_folders if is_link else found.folders).append(path)
            elif not is_link:
                found.other_folders[reason] += 1
        elif reason is not None:
            found.other_files[reason] += 1
        elif not entry.is_file():
            found.other_files["links that lead nowhere" if is_link else "files that are no photos (special)"] += 1
        elif path.suffix.lower() in PHOTO_SUFFIXES:
            found.photos.append(path)
            found.links.update([path] if is_link else [])
        else:
            found.other_files[other_file(path)] += 1
    return found


def skipped_text(skipped: Mapping[str, int]) -> str:
    """What was passed over, and how often, in one line; empty if nothing was."""
    return ", ".join(f"{reason}: {count:,}" for reason, count in sorted(skipped.items()))


def other_file(path: Path) -> str:
    """Why a file that is no photo by its name is passed over."""
    if path.name in TABLES and is_own_table(path):
        return f"faceline's own files ({path.name})"
    return f"files that are no photos ({path.suffix.lower() or 'no ending'})"
