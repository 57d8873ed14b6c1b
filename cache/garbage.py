"""Find and delete what the cache no longer needs: `faceline cache gc`.

a cache folder + the fingerprints in use -> everything else in it -> deleted on request.
"""

import os
import shutil
import socket
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cache import atomic
from cache.errors import CacheError
from cache.index import Rank, rank
from cache.layout import check_format, unwritable_message
from cache.pack import packed_store
from cache.remote import pull_all, remote_of
from cache.tar import TAR
from cache.unit import OK, UnitError, read_manifest, read_unit, units_in
from cache.verify import ENTRIES

ABANDONED_AFTER = 24 * 3600  # seconds; no commit takes that long


@dataclass(frozen=True, slots=True)
class Garbage:
    """One file or folder that can be deleted."""

    place: str  # its path relative to the cache
    why: str  # "unused", "superseded" or "abandoned"
    size_bytes: int


def find_garbage(root: Path, used: Collection[str]) -> list[Garbage]:
    """List what no reader of the fingerprints in use needs.

    Args:
        used: full fingerprints or their first 16 digits; the folders of all others are unused.

    Returns:
        Unused folders and packs, units superseded by others, and what dead processes left in staging.

    Raises:
        CacheError: the cache has a newer format or can't be read.
    """
    check_format(root)
    pull_all(root)
    kept = {fingerprint[:16] for fingerprint in used}
    try:
        unneeded = sorted(_unneeded(root, kept))
        return [Garbage(path.relative_to(root).as_posix(), why, _size(path)) for path, why in unneeded]
    except OSError as error:
        raise CacheError(f"cannot read the cache at {root}: {error}") from error


def delete_garbage(root: Path, garbage: Collection[Garbage]) -> None:
    """Delete garbage. Each item first moves to staging, so that a killed run never leaves half of it in place.

    Raises:
        CacheError: the cache is not writable.
    """
    remote = remote_of(root)
    try:
        for item in garbage:
            path = root / item.place
            if remote:
                remote.delete(path)
            staged = root / "tmp" / atomic.staging_name(Path("gc"))
            staged.parent.mkdir(exist_ok=True)
            if not path.exists():
                continue  # only the object store had it
            path.rename(staged)
            if staged.is_dir():
                shutil.rmtree(staged)
            else:
                staged.unlink()
    except OSError as error:
        raise CacheError(unwritable_message(root, error)) from error


def _unneeded(root: Path, kept: Collection[str]) -> Iterator[tuple[Path, str]]:
    """Yield each path that can be deleted, and why; `kept` holds the first 16 digits of the fingerprints in use."""
    for entries in ENTRIES:
        for folder in (root / entries).glob("*"):
            if folder.name in kept:
                yield from ((unit, "superseded") for unit in _superseded(folder))
                yield from ((tar, "abandoned") for tar in _orphans(root, folder))
            else:
                yield folder, "unused"
    yield from ((pack, "unused") for pack in (root / "packs").glob("*") if packed_store(pack)[:16] not in kept)
    yield from ((staged, "abandoned") for staged in (root / "tmp").glob("*") if _is_abandoned(staged))


def _orphans(root: Path, folder: Path) -> Iterator[Path]:
    """Yield tar files that no manifest names: their writers died, or another writer was first."""
    now, remote = time.time(), remote_of(root)
    ages = {tar: now - tar.stat().st_mtime for tar in folder.glob(f"units/??/*{TAR}")}
    if remote:
        ages |= {root / stored.name: stored.age_s for stored in remote.list(folder) if stored.name.endswith(TAR)}
    named: set[Path] = set()
    for unit in units_in(folder / "units") if ages else ():
        with suppress(UnitError):  # damaged: left to `cache verify --repair`
            named |= {unit.parent / entry.file for entry in read_manifest(unit) if entry.offset}
    yield from (tar for tar, age in ages.items() if tar not in named and age > ABANDONED_AFTER)


def _superseded(folder: Path) -> Iterator[Path]:
    """Yield units none of whose entries is ever read, because other units hold all their photos."""
    units: dict[Path, list[str]] = {}
    read: dict[str, Rank] = {}
    for unit in units_in(folder / "units"):
        try:
            entries, retry = read_unit(unit)
        except UnitError:
            continue  # damaged: left to `cache verify --repair`
        units[unit] = [entry.source for entry in entries]
        for entry in entries:
            new = rank(unit.name, retry, succeeded=entry.outcome == OK)
            read[entry.source] = min(new, read.get(entry.source, new))
    for unit, sources in units.items():
        if all(unit.name not in read[source] for source in sources):
            yield unit


def _is_abandoned(staged: Path) -> bool:
    """Whether a staged file, NAME.HOST.PROCESS.RANDOM, is a day old or of a dead process of this machine."""
    *_, host, process, _ = ["", "", "", *staged.name.rsplit(".", 3)]
    if host == socket.gethostname() and process.isdecimal():
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass  # alive, but another user's
    return time.time() - staged.stat().st_mtime > ABANDONED_AFTER


def _size(path: Path) -> int:
    """Return the total size of a file, or of the files in a folder, in bytes."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
