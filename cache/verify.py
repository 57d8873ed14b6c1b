"""Is the cache as it was written? `faceline cache verify` and `stats`.

a cache folder -> every file in it that is not what was committed -> set aside, when asked.

Hidden files are let be: a file manager leaves some, and so does a kill in the middle of a small write.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cache.errors import CacheError
from cache.layout import (
    FORMAT_FILE,
    check_format,
    format_damage,
    spec_damage,
    unwritable_sentence,
    write_format,
)
from cache.objects import check_held
from cache.pack import pack_damage
from cache.remote import Remote, address, pull_all, remote_of
from cache.tar import TAR
from cache.unit import MANIFEST, MANIFEST_SUFFIX, OK, Entry, UnitError, read_manifest, units_in

LEFT_BY_SYSTEMS = {"Thumbs.db", "desktop.ini"}
STRANGER = "does not belong here"
ENTRIES = ("detect", "crops")  # folders of the cache with units


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is not as it was written.

    Attributes:
        unit: the folder below the cache that it is in: a unit's, a fingerprint's, a pack's.
        file: the file in it.
        what: what is wrong.
    """

    unit: str
    file: str
    what: str


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a check.

    Attributes:
        units, crops: how many were checked.
        damaged: everything found.
        repaired: folders and files that were set aside.
    """

    units: int
    crops: int
    damaged: tuple[Damage, ...]
    repaired: int

    def as_json(self) -> dict[str, Any]:
        """What `cache verify --json` prints."""
        return {**asdict(self), "damaged": [asdict(one) for one in self.damaged]}


@dataclass(slots=True)
class _Findings:
    """What the check has met so far; `places` are to be set aside, each outer one before what it holds."""

    root: Path
    remote: Remote | None
    units: int = 0
    crops: int = 0
    damaged: list[Damage] = field(default_factory=list[Damage])
    places: dict[Path, None] = field(default_factory=dict[Path, None])

    def add(self, folder: Path, file: str, what: str, place: Path) -> None:
        self.damaged.append(Damage(folder.relative_to(self.root).as_posix(), file, what))
        self.places[place] = None


def verify(root: Path, *, repair: bool = False) -> Report:
    """Check every manifest, every crop, every spec and every pack.

    Args:
        root: the cache's folder.
        repair: move damaged units to CACHE/quarantine, so that the next detect makes them again. A damaged spec.json
            takes its whole folder along: nobody can tell any more what those crops are. A damaged pack is deleted.

    Raises:
        CacheError: the cache is of a newer format, or can't be read, or can't be repaired.
    """
    found = _Findings(root, remote_of(root))
    try:
        pull_all(root)
        _check_format(found)
        for place in ENTRIES:
            for kind in _shown(root / place):
                _check_kind(kind, found)
        for pack in _shown(root / "packs"):
            if wrong := pack_damage(pack, again=True):
                found.add(pack, "pixels.npy", wrong, pack)
    except OSError as error:
        raise CacheError(f"cannot check the cache at {root}: {error}") from error
    if repair:
        try:
            _repair(found)
        except OSError as error:
            raise CacheError(unwritable_sentence(root, error)) from error
    return Report(found.units, found.crops, tuple(found.damaged), len(found.places) if repair else 0)


def stats(root: Path) -> dict[str, Any]:
    """Counts and sizes per fingerprint, packs, stale staging and quarantine, as `cache stats --json` prints them.

    Raises:
        CacheError: the cache is of a newer format or can't be read.
    """
    check_format(root)
    pull_all(root)
    try:
        return {
            "cache": address(root),
            "fingerprints": [_kind_stats(kind) for kind in _shown(root / "crops")],
            "detections": [_kind_stats(kind) for kind in _shown(root / "detect")],
            **{name: _folder_stats(root / place) for name, place in _PLACES.items()},
        }
    except OSError as error:
        raise CacheError(f"cannot read the cache at {root}: {error}") from error


_PLACES = {"packs": "packs", "staging": "tmp", "quarantine": "quarantine"}


def _check_format(found: _Findings) -> None:
    path = found.root / FORMAT_FILE
    wrong = format_damage(found.root)
    if not wrong and not path.is_file() and any(any(_shown(found.root / place)) for place in ENTRIES):
        wrong = "is missing"
    if wrong:
        found.add(found.root, FORMAT_FILE, wrong, path)


def _check_kind(kind: Path, found: _Findings) -> None:
    wrong = spec_damage(kind, kind.name)
    # It is written before the first unit: a kill may leave a folder with neither.
    if not wrong and not (kind / "spec.json").is_file() and any(_shown(kind / "units")):
        wrong = "is missing"
    if wrong:
        found.add(kind, "spec.json", wrong, kind)
    for stranger in _shown(kind):
        if stranger.name not in {"spec.json", "units"}:
            found.add(kind, stranger.name, STRANGER, stranger)
    for prefix in _shown(kind / "units"):
        if not prefix.is_dir():
            found.add(prefix.parent, prefix.name, STRANGER, prefix)
            continue
        for unit in _shown(prefix):
            if unit.suffix == TAR:
                continue  # of a manifest, or nobody's: `cache gc` knows
            if unit.name.startswith(prefix.name) and (unit.is_dir() or unit.suffix == MANIFEST_SUFFIX):
                _check_unit(unit, found)
            else:
                found.add(prefix, unit.name, STRANGER, unit)


def _check_unit(unit: Path, found: _Findings) -> None:
    entries, damaged = check_held(found.remote, unit)
    found.units += 1
    found.crops += sum(bool(entry.file) for entry in entries)
    for file, what in damaged:
        found.add(unit.parent if unit.suffix == MANIFEST_SUFFIX else unit, file, what, unit)
        for tar in {entry.file for entry in entries if entry.offset}:
            found.places[unit.parent / tar] = None  # it would stand in the way of the next one with its name
    known = {MANIFEST, *(entry.file for entry in entries)}
    for stranger in _shown(unit):
        if entries and stranger.name not in known:
            found.add(unit, stranger.name, STRANGER, stranger)


def _repair(found: _Findings) -> None:
    for place in found.places:
        below = place.relative_to(found.root)
        if below.parts[0] == "packs":
            shutil.rmtree(place)
        elif place.exists():
            quarantine = found.root / "quarantine"
            quarantine.mkdir(exist_ok=True)
            name = "-".join(below.parts)
            number = 0
            while (aside := quarantine / f"{name}.{number}").exists():
                number += 1
            place.rename(aside)
            if found.remote:
                found.remote.delete(place)
    if found.root / FORMAT_FILE in found.places:
        write_format(found.root)


def _kind_stats(kind: Path) -> dict[str, Any]:
    photos: dict[str, Entry] = {}
    units, damaged = 0, 0
    size_bytes = 0
    for unit in units_in(kind / "units"):
        units += 1
        try:
            entries = read_manifest(unit)
        except UnitError:
            damaged += 1
            continue
        size_bytes += sum(entry.size_bytes for entry in entries)
        for entry in entries:
            photos.setdefault(entry.source, entry)
    outcomes = Counter(entry.outcome for entry in photos.values())
    ok = outcomes.pop(OK, 0)
    return {
        "fingerprint": kind.name,
        "units": units,
        "damaged_units": damaged,
        "ok": ok,
        "failed": dict(outcomes),
        "bytes": size_bytes,
    }


def _folder_stats(folder: Path) -> dict[str, int]:
    size_bytes = 0
    for file in folder.rglob("*"):
        try:
            size_bytes += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:  # a unit in staging that was committed meanwhile
            continue
    return {"count": sum(1 for _ in _shown(folder)), "bytes": size_bytes}


def _shown(folder: Path) -> Iterator[Path]:
    """What a folder holds, by name, without hidden files; nothing when it is not there."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if not path.name.startswith(".") and path.name not in LEFT_BY_SYSTEMS:
                yield path
