"""What the cache holds and nobody needs. `faceline cache gc`.

a cache folder + the fingerprints in use -> what else is there -> deleted, when asked.
"""

import os
import shutil
import socket
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cache.errors import CacheError
from cache.layout import check_format, unwritable_sentence
from cache.pack import packed_store
from cache.remote import pull_all, remote_of
from cache.tar import TAR
from cache.unit import OK, UnitError, read_manifest, units_in
from cache.verify import ENTRIES

ABANDONED_AFTER = 24 * 3600  # seconds; no commit takes as long


@dataclass(frozen=True, slots=True)
class Garbage:
    """One thing that can go.

    Attributes:
        place: below the cache.
        why: "unused", "superseded" or "abandoned".
        size_bytes: what its files take.
    """

    place: str
    why: str
    size_bytes: int


def find_garbage(root: Path, used: Collection[str]) -> list[Garbage]:
    """What is not needed by anyone who reads the fingerprints in use.

    Args:
        root: the cache's folder.
        used: fingerprints, whole or their first 16 digits; the folders of all others are unused.

    Returns:
        Unused folders and packs, units that others supersede, and what dead processes left in staging.

    Raises:
        CacheError: the cache is of a newer format or can't be read.
    """
    check_format(root)
    pull_all(root)
    kept = {fingerprint[:16] for fingerprint in used}
    try:
        return [
            Garbage(place.relative_to(root).as_posix(), why, _size(place)) for place, why in sorted(_places(root, kept))
        ]
    except OSError as error:
        raise CacheError(f"cannot read the cache at {root}: {error}") from error


def delete_garbage(root: Path, garbage: Collection[Garbage]) -> None:
    """Delete it, each thing in one step: a kill leaves it whole or in staging.

    Raises:
        CacheError: the cache can't be written.
    """
    remote = remote_of(root)
    try:
        for one in garbage:
            if remote:
                remote.delete(root / one.place)
            aside = root / "tmp" / f"gc.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex}"
            aside.parent.mkdir(exist_ok=True)
            if not (root / one.place).exists():
                continue  # only the object store had it
            (root / one.place).rename(aside)
            if aside.is_dir():
                shutil.rmtree(aside)
            else:
                aside.unlink()
    except OSError as error:
        raise CacheError(unwritable_sentence(root, error)) from error


def _places(root: Path, kept: Collection[str]) -> Iterator[tuple[Path, str]]:
    for kind in ENTRIES:
        for folder in (root / kind).glob("*"):
            if folder.name in kept:
                yield from ((unit, "superseded") for unit in _superseded(folder))
                yield from ((tar, "abandoned") for tar in _orphans(root, folder))
            else:
                yield folder, "unused"
    for pack in (root / "packs").glob("*"):
        if packed_store(pack)[:16] not in kept:
            yield pack, "unused"
    for staged in (root / "tmp").glob("*"):
        if _is_abandoned(staged):
            yield staged, "abandoned"


def _orphans(root: Path, folder: Path) -> Iterator[Path]:
    """Tar files that no manifest names: their writers died, or came second."""
    now, remote = time.time(), remote_of(root)
    ages = {tar: now - tar.stat().st_mtime for tar in folder.glob(f"units/??/*{TAR}")}
    if remote:
        ages |= {root / one.name: one.age for one in remote.list(folder) if one.name.endswith(TAR)}
    named: set[Path] = set()
    for unit in units_in(folder / "units") if ages else ():
        with suppress(UnitError):  # damaged: for `cache verify --repair`
            named |= {unit.parent / entry.file for entry in read_manifest(unit) if entry.offset}
    yield from (tar for tar, age in ages.items() if tar not in named and age > ABANDONED_AFTER)


def _superseded(folder: Path) -> Iterator[Path]:
    """Units of which no entry is read, because other units hold all of their photos."""
    units: dict[Path, list[str]] = {}
    read: dict[str, tuple[bool, str]] = {}
    for unit in units_in(folder / "units"):
        try:
            entries = read_manifest(unit)
        except UnitError:
            continue  # damaged: for `cache verify --repair`
        units[unit] = [entry.source for entry in entries]
        for entry in entries:
            order = (entry.outcome != OK, unit.name)
            read[entry.source] = min(order, read.get(entry.source, order))
    for unit, sources in units.items():
        if all(read[source][1] != unit.name for source in sources):
            yield unit


def _is_abandoned(staged: Path) -> bool:
    *_, host, process, _ = ["", "", "", *staged.name.rsplit(".", 3)]
    if host == socket.gethostname() and process.isdecimal():
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass  # another user's, alive
    return time.time() - staged.stat().st_mtime > ABANDONED_AFTER


def _size(place: Path) -> int:
    """What its files take on this disk."""
    files = place.rglob("*") if place.is_dir() else [place]
    return sum(file.stat().st_size for file in files if file.is_file())
