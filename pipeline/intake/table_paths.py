"""Find the photos that a table's paths mean, written as on another system, without endings, or without folders.

In: a table, and a path as it is written there. Out: where the photo is, or that it is nowhere, or outside the folder.

A path that is right as it stands counts. Any other reading must lead to exactly one file, and is counted by what it is,
so that the user is shown how the table was read.
"""

import difflib
import functools
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import polars as pl

from cache.errors import UsageError
from detect.formats import PHOTO_SUFFIXES
from pipeline.intake.defects import DefectLog
from pipeline.intake.folder_index import FolderIndex, names_by_capitals, nfc, without_capitals
from pipeline.intake.photo_files import junk_reason

# A root, a drive, a URL, or a step up; with either slash, for tables made on Windows.
LEAVES_THE_FOLDER = r"^[/\\]|^[A-Za-z]:|^[A-Za-z][A-Za-z0-9+.-]*://|(^|[/\\])\.\.([/\\]|$)"
BACKSLASHES = "have backslashes"
CAPITALS = "have other capitals or blanks than the files, or no ending"
BELOW = "are bare names, found in folders below"
REPEATED = "repeat the name of the folder that they start from"
NEAR = 0.6  # how similar a name must be to be shown, as difflib counts it


@dataclass(frozen=True, slots=True)
class FoundPhoto:
    """The answer to a search for a photo.

    Attributes:
        name: the path as the table writes it, with forward slashes.
        key: the path on disk below the root; the requested one if there is no such file.
        exists: it is a file.
        outside: it lies behind a link that leads out of the root, and must not be opened.
        several: paths of several files that it could be, none of which is chosen.
    """

    name: str
    key: str
    exists: bool
    outside: bool = False
    several: tuple[str, ...] = ()


class TablePaths:
    """The photos below the folder that a table's paths start from.

    Args:
        table: the table's file.
        images: the folder that the paths start from, relative to the table's; None is the table's.
        follow_links: links that lead out of that folder may be opened.

    Raises:
        UsageError: there is no folder `images`.
    """

    def __init__(self, table: Path, images: str | None, *, follow_links: bool = False) -> None:
        self.root = table.parent if images is None else _images_folder(table.parent, images)
        self.readings: Counter[str] = Counter()  # how paths are written that are not right as they stand
        self._table_folder, self._follow_links = table.parent, follow_links
        self._index = FolderIndex(self.root, follow_links=follow_links)
        self._named: defaultdict[str, set[str]] = defaultdict(set)  # folder -> files that the table names

    def find(self, path: str) -> FoundPhoto:
        """Look up a path that does not leave the root."""
        found = self._find(path)
        shown = path if "\\" in found.key else path.replace("\\", "/")
        found = replace(found, name=_joined(*_split(shown)))
        if found.exists:
            folder, _, file = found.key.rpartition("/")
            self._named[folder].add(file)
        return found

    def below_root(self, path: str) -> str | None:
        """Turn an absolute path, or one with steps up, into one below the root; None if it leads elsewhere."""
        plain = os.path.normpath(os.path.join(os.path.abspath(self._table_folder), path))  # noqa: PTH100, PTH118
        root = os.path.abspath(self.root)  # noqa: PTH100
        if "\\" in path or "://" in path or not plain.startswith(root.rstrip(os.sep) + os.sep):
            return None
        return plain[len(root) :].lstrip(os.sep).replace(os.sep, "/")

    def count_unnamed(self) -> int:
        """How many photos there are, in the folders of those that the table names, that it does not name."""
        rest = (self._index.files(folder) - named for folder, named in self._named.items())
        return sum(is_photo_name(name) for names in rest for name in names)

    def nearest(self, path: str) -> str | None:
        """The existing photo whose name is most similar to that of `path`, which is not there."""
        file = without_capitals(_split(path.replace("\\", "/"))[1])
        names = [file, *difflib.get_close_matches(file, self._photos_by_name, n=1, cutoff=NEAR)]
        return next((self._photos_by_name[name][0] for name in names if name in self._photos_by_name), None)

    def reading_notes(self) -> list[str]:
        """A sentence for each way in which paths are written otherwise than the files' own."""
        return [f"{count:,} paths {reading}; each leads to one file" for reading, count in self.readings.items()]

    def _find(self, path: str) -> FoundPhoto:
        first = self._look_up(*_split(path))
        if first.exists or first.outside:
            return first
        several: list[str] = []
        for reading, (folder, file) in self._spellings(path):
            exact, similar = self._look_up(folder, file), self._similar(folder, file, several)
            if exact.exists or exact.outside or similar is not None:
                self.readings.update([reading] if reading else [])
                self.readings.update([] if exact.exists or exact.outside else [CAPITALS])
                return exact if exact.exists or similar is None else similar
            if not folder and not several:
                several += self._below(file)
                if len(several) == 1:
                    self.readings[BELOW] += 1
                    return FoundPhoto("", several[0], exists=True)
        return FoundPhoto("", first.key, exists=False, several=tuple(several))

    def _spellings(self, path: str) -> Iterator[tuple[str, tuple[str, str]]]:
        """Yield folder and file as the path is written, and as it could be meant: the reading, and what it gives."""
        yield "", _split(path)
        plain = path.replace("\\", "/")
        if plain != path:
            yield BACKSLASHES, _split(plain)
        # data/img/a.jpg in the folder `data` is img/a.jpg there.
        parts, above = _split_all(plain), Path(os.path.abspath(self.root)).parts  # noqa: PTH100
        for count in range(1, len(parts)):
            if tuple(parts[:count]) == above[-count:]:
                yield REPEATED, _split("/".join(parts[count:]))

    def _look_up(self, folder: str, file: str) -> FoundPhoto:
        """The file of exactly this name, whatever its Unicode form."""
        found = self._index.find(folder, file)
        return FoundPhoto("", _joined(folder, found.name), found.exists, found.outside)

    def _similar(self, folder: str, file: str, several: list[str]) -> FoundPhoto | None:
        """The file of this name but for capitals or its ending; if there are several, they are put into the list."""
        folder = self._index.similar_folder(folder) if folder else ""
        names = self._index.similar(folder, file)
        if len(names) != 1:
            several += [_joined(folder, name) for name in names]
            return None
        found = self._look_up(folder, names[0])
        return found if found.exists or found.outside else None

    def _below(self, file: str) -> list[str]:
        """The photos of this name at any depth."""
        paths = self._photos_by_name.get(without_capitals(file), [])
        return [path for path in paths if nfc(_split(path)[1]) == nfc(file)] or paths

    @functools.cached_property
    def _photos_by_name(self) -> dict[str, list[str]]:
        """The paths of all photos below the root by their names without capitals, also without the ending."""
        log = DefectLog(self.root, os.path.realpath(self.root), (), self._follow_links)
        paths: defaultdict[str, list[str]] = defaultdict(list)
        for photo in log.walk(self.root):
            paths[photo.name].append(os.path.relpath(photo, self.root).replace(os.sep, "/"))
        by_name = names_by_capitals(paths)
        return {name: [path for file in files for path in paths[file]] for name, files in by_name.items()}


def is_photo_name(name: str) -> bool:
    """Whether a file of this name is a photo."""
    return junk_reason(name) is None and Path(name).suffix.lower() in PHOTO_SUFFIXES


def has_bad_path(column: str = "path") -> pl.Expr:
    """Rows whose path is empty, holds a NUL character or leaves the folder that it starts from."""
    path = pl.col(column).fill_null("")
    return (path.str.strip_chars() == "") | path.str.contains("\0", literal=True) | path.str.contains(LEAVES_THE_FOLDER)


def _images_folder(table_folder: Path, images: str) -> Path:
    """The folder that `data.images` names."""
    named = Path(images).expanduser()
    candidates = [table_folder / named, named]
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise UsageError(
        f"data.images: there is no folder {candidates[0]}" + ("" if named.is_absolute() else f" or {named}")
    )


def _split(path: str) -> tuple[str, str]:
    """Folder and file of a path with forward slashes; "./" and "//" mean nothing."""
    if "./" in path or "//" in path or path.endswith("/"):
        path = PurePosixPath(path).as_posix()
    folder, _, file = path.rpartition("/")
    return folder, file


def _joined(folder: str, file: str) -> str:
    return f"{folder}/{file}" if folder else file


def _split_all(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]
