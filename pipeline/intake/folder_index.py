"""Where the files that a table names are, with one look into each folder.

folder + name as a table spells it -> Found: the name as the disk spells it, whether it is there, whether it leads out.

A look at each of a million files takes longer than reading their table; a listing tells as much and costs one call per
folder.
"""

import os
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Found:
    """A file that was looked for.

    Attributes:
        file: its name as the disk spells it; as it was asked for when there is none.
        there: it is a regular file (or a link to one).
        outside: it is, or lies behind, a link that leads out of the root; it must not be opened.
    """

    file: str
    there: bool
    outside: bool = False


@dataclass(slots=True)
class _Folder:
    files: set[str] = field(default_factory=set[str])
    links: set[str] = field(default_factory=set[str])
    outside: bool = False
    by_nfc: dict[str, str] | None = None  # made when a name is not there as it is spelled


class FolderIndex:
    """The files below `root`, folder by folder as they are asked for."""

    def __init__(self, root: Path) -> None:
        self._root, self._resolved = root, os.path.realpath(root)
        self._folders: dict[str, _Folder] = {}

    def find(self, folder: str, file: str) -> Found:
        """`file` in `folder`, a path relative to the root; spelled in either Unicode form, or with stray spaces."""
        listed = self._listed(folder)
        if listed.outside:
            return Found(file, there=False, outside=True)
        name = file if file in listed.files or file in listed.links else _respelled(listed, file)
        if name in listed.links:
            path = self._root / folder / name
            inside = is_within(path, self._resolved)
            return Found(name, there=inside and path.is_file(), outside=not inside)
        return Found(name, there=name in listed.files)

    def files(self, folder: str) -> set[str]:
        """The names of the regular files in `folder`."""
        return self._listed(folder).files

    def _listed(self, folder: str) -> _Folder:
        if folder not in self._folders:
            self._folders[folder] = self._list(folder)
        return self._folders[folder]

    def _list(self, folder: str) -> _Folder:
        path = self._root / folder
        if not is_within(path, self._resolved):
            return _Folder(outside=True)
        listed = _Folder()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        listed.links.add(entry.name)
                    elif entry.is_file(follow_symlinks=False):
                        listed.files.add(entry.name)
        except PermissionError:
            raise
        except OSError:  # not there, no folder, a name too long for the disk: nothing is in it
            pass
        return listed


def is_within(path: Path, root: str) -> bool:
    """Whether `path`, its links followed, is in `root`, which is a real path. Nothing is opened."""
    # realpath, unlike Path.resolve, ends at a link that leads to itself.
    real = os.path.realpath(path)
    return real == root or real.startswith(root.rstrip(os.sep) + os.sep)


def spelled(name: str) -> str:
    r"""A file name as text that any file can hold: bytes that are no UTF-8 are written \xff."""
    return name if name.isascii() else name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _respelled(listed: _Folder, file: str) -> str:
    if listed.by_nfc is None:
        names = listed.files | listed.links
        listed.by_nfc = {unicodedata.normalize("NFC", name): name for name in sorted(names)}
    for candidate in (file, file.strip()):
        if (name := listed.by_nfc.get(unicodedata.normalize("NFC", candidate))) is not None:
            return name
    return file
