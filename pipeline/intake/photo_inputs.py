"""What the arguments of `faceline predict` name: photos, folders, tables, patterns, lists of paths, and stdin.

In: the words of the command line. Out: a `Dataset` whose photos are to be predicted, in the order of the arguments. An
archive, a video, a camera and a URL each have one Photo in it, which `pipeline.intake.sources` opens.

A single folder or table is read as any other data set, so that an eval part and its submission are found. Several
arguments are put together: each photo once, under the path that the user gave.
"""

import glob
import os
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cache.errors import UsageError
from cache.location import with_home
from detect.formats import PHOTO_SUFFIXES
from pipeline.intake.archives import is_archive
from pipeline.intake.downloads import is_url
from pipeline.intake.folder_index import printable_name
from pipeline.intake.own_files import is_own_table, own_folder
from pipeline.intake.photo import Dataset, Photo
from pipeline.intake.photo_files import junk_reason, other_file, skipped_text
from pipeline.intake.table_file import TABLE_SUFFIXES
from pipeline.intake.videos import CAMERA, is_video

STDIN = "-"
LIST_SUFFIX = ".txt"
SHOWN_MISSING = 5

Load = Callable[[Path], Dataset]


@dataclass(frozen=True, slots=True)
class _Input:
    """A file or folder to predict."""

    path: Path
    name: str  # as the user wrote it
    by_pattern: bool = False  # matched by a pattern, so that nobody chose it by its name


def load_inputs(arguments: Sequence[str], load: Load) -> Dataset:
    """Load the photos that the arguments name.

    Args:
        arguments: photos, folders, tables, archives, videos, URLs, camera:0, patterns with * ? or [], .txt files with a
            path a line, and "-" for paths on stdin. A relative path in a .txt file is looked for beside that file, then
            in the current folder.
        load: reads a folder or a table.

    Raises:
        UsageError: a path does not exist, a pattern matches nothing, or a list is empty; the message names each.
        DataError: what `load` raises, or a fatal defect in what it has read.
    """
    missing: list[str] = []
    inputs = [item for argument in arguments for item in _named_by(argument, missing)]
    if missing:
        more = f"\n... and {len(missing) - SHOWN_MISSING} more" if len(missing) > SHOWN_MISSING else ""
        raise UsageError("\n".join(missing[:SHOWN_MISSING]) + more)
    if len(arguments) == 1 and len(inputs) == 1 and _is_data(inputs[0].path):
        return load(inputs[0].path).require_usable()

    skipped: Counter[str] = Counter()
    notes: list[str] = []
    photos: list[Photo] = []
    seen: set[str] = set()
    for item in inputs:
        if len(inputs) > 1 and (reason := _own_reason(item.path)):  # a shell or a pattern puts it among the photos
            skipped[reason] += 1
            continue
        named = list(_photos_of(item, load, skipped, notes))
        new = [photo for photo in named if _identity(photo) not in seen]
        if len(new) < len(named):
            skipped["photos that are named more than once"] += len(named) - len(new)
        photos += new
        seen.update(_identity(photo) for photo in new)
    if not photos:
        raise UsageError(f"{' '.join(arguments)} names no photo ({skipped_text(skipped) or 'nothing'})")
    return Dataset(Path(), "folder", evaluation=tuple(photos), skipped=dict(skipped), notes=tuple(notes))


def _named_by(argument: str, missing: list[str]) -> Iterator[_Input]:
    """Yield what one argument names, and add a sentence to `missing` for everything that is not there."""
    if argument.startswith("~"):
        argument = str(with_home(argument))
    if argument == STDIN:
        content = sys.stdin.buffer.read()
        yield from _listed("stdin", content, (Path(),), missing)
    elif Path(argument).suffix.lower() == LIST_SUFFIX and Path(argument).is_file():
        yield from _listed(argument, Path(argument).read_bytes(), (Path(argument).parent, Path()), missing)
    elif (path := _existing(argument)) is not None:
        yield _Input(path, argument)
    elif is_url(argument) or CAMERA.fullmatch(argument):
        yield _Input(Path(argument), argument)
    elif glob.has_magic(argument):
        matches = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207 -- Path.glob takes no absolute pattern
        if not matches:
            missing.append(f"no file matches {argument}")
        yield from (_Input(Path(match), match, by_pattern=True) for match in matches)
    else:
        missing.append(f"there is no photo, folder or table {argument}")


def _listed(source: str, content: bytes, folders: Sequence[Path], missing: list[str]) -> Iterator[_Input]:
    """Yield the paths of a list, one a line or ended by NUL as `find -print0` does; empty lines mean nothing."""
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    lines = text.split("\0") if "\0" in text else text.splitlines()
    if not any(line.strip() for line in lines):
        missing.append(f"{source} names no photo; write a path a line")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if is_url(line.strip()):
            yield _Input(Path(line.strip()), line.strip())
            continue
        candidates = [str(folder / with_home(line)) for folder in folders]
        path = next((path for path in map(_existing, candidates) if path is not None), None)
        if path is None:
            missing.append(f"{source}, line {number}: there is no file {line}")
        else:
            yield _Input(path, line)


def _existing(text: str) -> Path | None:
    """The path, if something is there under this name, in another Unicode form of it, or with / for \\."""
    forms = [text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD")), text.replace("\\", "/")]
    try:
        return next((Path(form) for form in forms if os.path.lexists(form)), None)
    except ValueError:  # a NUL
        return None


def _identity(photo: Photo) -> str:
    return photo.name if is_url(photo.name) else os.path.normpath(photo.path.absolute())


def _is_data(path: Path) -> bool:
    return path.is_dir() or path.suffix.lower() in TABLE_SUFFIXES


def _own_reason(path: Path) -> str | None:
    """What is counted where a file or folder is faceline's own."""
    if path.is_dir():
        what = own_folder(path)
        return what and f"faceline's own folders ({printable_name(path.name)}: {what})"
    return f"faceline's own files ({path.name})" if is_own_table(path) else None


def _photos_of(item: _Input, load: Load, skipped: Counter[str], notes: list[str]) -> Iterator[Photo]:
    """Yield the photos of a file, folder or table; what a pattern matches but is no photo is counted in `skipped`."""
    name = printable_name(item.name.replace(os.sep, "/"))
    if _is_data(item.path) and not (item.by_pattern and item.path.is_file()):
        dataset = load(item.path).require_usable()
        if dataset.submission_ids:
            raise UsageError(f"{item.name} is a data set with a submission to fill in; give it as the only argument")
        skipped.update(dataset.skipped)
        notes += dataset.notes
        folder = (name if item.path.is_dir() else name.rpartition("/")[0]).rstrip("/")
        for photo in dataset.evaluation or dataset.train:
            yield replace(photo, name=f"{folder}/{photo.name}" if folder else photo.name)
        return
    suffix = item.path.suffix.lower()
    if item.by_pattern and suffix not in PHOTO_SUFFIXES and not (is_archive(item.path) or is_video(item.path)):
        skipped[junk_reason(item.path.name) or other_file(item.path)] += 1
    else:
        yield Photo(item.path, name, name)
