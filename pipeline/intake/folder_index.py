"""Find the files that a table names, reading each folder only once.

In: a folder and a file name as a table writes it. Out: a `FileLookup`: the name as the disk writes it, whether the file
exists, whether it lies outside the data folder.

Checking a million files one by one takes longer than reading their table; listing a folder answers for all its files.
"""

import functools
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from detect.formats import PHOTO_SUFFIXES


@dataclass(frozen=True, slots=True)
class FileLookup:
    """The answer to a search for a file.

    Attributes:
        name: the file's name as the disk writes it; the requested name if there is no such file.
        exists: it is a regular file, or a link to one.
        outside: it is, or lies behind, a link that leads out of the root; it must not be opened.
    """

    name: str
    exists: bool
    outside: bool = False


@dataclass(slots=True)
class _Folder:
    files: set[str] = field(default_factory=set[str])
    links: set[str] = field(default_factory=set[str])
    folders: set[str] = field(default_factory=set[str])
    outside: bool = False
    by_nfc: dict[str, str] | None = None  # NFC form -> name on disk; made when a name has no exact match
    by_capitals: dict[str, list[str]] | None = None  # the same without capitals, also without a photo's ending


class FolderIndex:
    """The files below `root`; each folder is listed when a file in it is first looked up.

    Args:
        root: the folder.
        follow_links: links that lead out of the root may be opened.
    """

    def __init__(self, root: Path, *, follow_links: bool = False) -> None:
        self._root = root
        self._real_root = os.path.realpath(root)
        self._follow_links = follow_links
        self._listing = functools.cache(self._read)

    def find(self, folder: str, file: str) -> FileLookup:
        """Look up `file` in `folder` (relative to the root), in either Unicode form or without stray spaces."""
        listing = self._listing(folder)
        if listing.outside:
            return FileLookup(file, exists=False, outside=True)
        name = file if file in listing.files or file in listing.links else _name_on_disk(listing, file)
        if name in listing.links:
            path = self._root / folder / name
            inside = self._may_open(path)
            return FileLookup(name, exists=inside and path.is_file(), outside=not inside)
        return FileLookup(name, exists=name in listing.files)

    def files(self, folder: str) -> set[str]:
        """The names of the regular files in `folder`."""
        return self._listing(folder).files

    def similar(self, folder: str, file: str) -> list[str]:
        """The names in `folder` that are `file` but for capitals, or but for a photo's ending that `file` lacks."""
        listing = self._listing(folder)
        if listing.by_capitals is None:
            listing.by_capitals = names_by_capitals(listing.files | listing.links)
        return listing.by_capitals.get(without_capitals(file), [])

    def similar_folder(self, folder: str) -> str:
        """The folder that is `folder` but for capitals; `folder` itself if it exists, or if there are none or two."""
        on_disk = ""
        for part in folder.split("/"):
            names = self._listing(on_disk).folders
            similar = [name for name in names if without_capitals(name) == without_capitals(part)]
            if part not in names and len(similar) != 1:
                return folder
            name = part if part in names else similar[0]
            on_disk = f"{on_disk}/{name}" if on_disk else name
        return on_disk

    def _may_open(self, path: Path) -> bool:
        return self._follow_links or is_within(path, self._real_root)

    def _read(self, folder: str) -> _Folder:
        """List `folder` on disk; a folder that does not exist is empty."""
        path = self._root / folder
        if not self._may_open(path):
            return _Folder(outside=True)
        listing = _Folder()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        listing.links.add(entry.name)
                    elif entry.is_file(follow_symlinks=False):
                        listing.files.add(entry.name)
                    elif entry.is_dir(follow_symlinks=False):
                        listing.folders.add(entry.name)
        except PermissionError:
            raise
        except OSError:  # missing, not a folder, or a name too long for the disk: it holds nothing
            pass
        return listing


def is_within(path: Path, root: str) -> bool:
    """Whether `path`, with links resolved, is in `root`, a path without links. Nothing is opened."""
    # realpath, unlike Path.resolve, ends at a link that leads to itself.
    real = os.path.realpath(path)
    return real == root or real.startswith(root.rstrip(os.sep) + os.sep)


def printable_name(name: str) -> str:
    r"""A file name as text that can be encoded as UTF-8; bytes that are not UTF-8 are written as \xff."""
    return name if name.isascii() else name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def nfc(name: str) -> str:
    """A name in one Unicode form, for comparisons: disks and tables made on different systems use different ones."""
    return unicodedata.normalize("NFC", name)


def without_capitals(name: str) -> str:
    """A name in one Unicode form without capitals and outer spaces, for comparisons in which they do not count."""
    return nfc(name).strip().casefold()


def names_by_capitals(names: Iterable[str]) -> dict[str, list[str]]:
    """The names by their form without capitals, and photos also without their ending."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        found[without_capitals(name)].append(name)
        stem, _, suffix = name.rpartition(".")
        if stem and f".{suffix.lower()}" in PHOTO_SUFFIXES:
            found[without_capitals(stem)].append(name)
    return dict(found)


def _name_on_disk(listing: _Folder, file: str) -> str:
    """The name in `listing` that equals `file` but for Unicode form and outer spaces; `file` if there is none."""
    if listing.by_nfc is None:
        listing.by_nfc = {nfc(name): name for name in sorted(listing.files | listing.links)}
    for candidate in (file, file.strip()):
        if nfc(candidate) in listing.by_nfc:
            return listing.by_nfc[nfc(candidate)]
    return file
