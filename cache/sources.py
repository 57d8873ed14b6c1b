"""Identify files by content: a source id is the sha256 of a file's bytes, whatever its name, folder or time.

A part of a picture is a source of its own. Its path is the file's with a media fragment, as in a.jpg#xywh=10,20,30,40,
and its source id is the sha256 of the file's bytes followed by the fragment. A picture that is no file, such as a frame
of a video, is known by its pixels.
"""

import errno
import hashlib
import re
import stat
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

FRAGMENT = re.compile(r"#xywh=(-?\d{1,9}),(-?\d{1,9}),(\d{1,9}),(\d{1,9})$")
FILES_AT_ONCE = 16  # in one thread: enough to hide its start, few enough to share a small folder among threads


def hash_files(paths: Iterable[Path], *, threads: int = 4) -> dict[Path, str | OSError]:
    """Hash files; for a file that can't be read, the result holds its error, and the others go on.

    Args:
        paths: in any order; the result has each once, in the order of first appearance.
    """
    unique = list(dict.fromkeys(paths))
    parts = [unique[start : start + FILES_AT_ONCE] for start in range(0, len(unique), FILES_AT_ONCE)]
    with ThreadPoolExecutor(threads) as pool:
        hashed = pool.map(lambda part: [_hash(path) for path in part], parts)
        return dict(zip(unique, chain.from_iterable(hashed), strict=True))


Part = tuple[int, int, int, int]  # x, y of the upper left corner, width, height; in pixels of the upright picture


def part_path(path: Path, part: Part) -> Path:
    """The path that stands for a part of a picture, which may extend beyond the picture."""
    return path.with_name(f"{path.name}#xywh={','.join(map(str, part))}")


def split_part(path: Path) -> tuple[Path, Part | None]:
    """The file that a path leads to, and the part of it that is meant, or None for all of it."""
    found = FRAGMENT.search(path.name)
    if found is None:
        return path, None
    x, y, width, height = map(int, found.groups())
    return path.with_name(path.name[: found.start()]), (x, y, width, height)


def source_id(content: bytes, path: Path) -> str:
    """The source id of the picture, or part of a picture, at `path`, whose file has these bytes."""
    found = FRAGMENT.search(path.name)
    return hashlib.sha256(content + (found[0].encode() if found else b"")).hexdigest()


def pixels_id(pixels: bytes, shape: tuple[int, ...], path: Path) -> str:
    """The source id of a picture that is in memory as RGB pixels; it is no file's, whatever the file holds.

    Args:
        pixels: the bytes of the rows.
        shape: (height, width, 3).
        path: what the picture is called; only its fragment counts.
    """
    found = FRAGMENT.search(path.name)
    digest = hashlib.sha256(f"pixels {shape[0]}x{shape[1]} ".encode())
    digest.update(pixels)
    digest.update(found[0].encode() if found else b"")
    return digest.hexdigest()


def _hash(path: Path) -> str | OSError:
    fragment = FRAGMENT.search(path.name)
    path, _ = split_part(path)
    try:
        # Opening a pipe waits for a writer, and a device may have no end.
        if not stat.S_ISREG(path.stat().st_mode):
            return OSError(errno.EINVAL, "not a regular file", str(path))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
            digest.update(fragment[0].encode() if fragment else b"")
            return digest.hexdigest()
    except OSError as error:
        return error
    except ValueError as error:  # a name with a NUL
        return OSError(errno.EINVAL, str(error), str(path))
