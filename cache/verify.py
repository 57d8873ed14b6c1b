"""Check that the cache is as it was written: `faceline cache verify` and `stats`.

a cache folder -> all files in it that differ from what was committed -> moved to quarantine on request.

Hidden files are ignored: file managers leave some, and so does a run that is killed while it writes a small file.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cache import layout
from cache.errors import CacheError
from cache.objects import check_mirrored_unit
from cache.pack import pack_damage
from cache.remote import Remote, address, pull_all, remote_of
from cache.tar import TAR
from cache.unit import MANIFEST, MANIFEST_SUFFIX, OK, Entry, UnitError, read_manifest, units_in

SYSTEM_FILES = {"Thumbs.db", "desktop.ini"}
UNEXPECTED = "does not belong here"
ENTRIES = ("detect", "crops")  # the cache's subfolders with units


@dataclass(frozen=True, slots=True)
class Damage:
    """One file that differs from what was written."""

    unit: str  # its folder relative to the cache: a unit's, a fingerprint's or a pack's
    file: str  # its name
    what: str  # what is wrong


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a check."""

    units: int  # how many were checked
    crops: int  # how many were checked
    damaged: tuple[Damage, ...]  # everything that is wrong
    repaired: int  # how many folders and files were moved to quarantine

    def as_json(self) -> dict[str, Any]:
        """Return what `cache verify --json` prints."""
        return {**asdict(self), "damaged": [asdict(damage) for damage in self.damaged]}


@dataclass(slots=True)
class _Findings:
    """What the check has found so far; `paths` are to be quarantined, each folder before its contents."""

    root: Path
    remote: Remote | None
    units: int = 0
    crops: int = 0
    damaged: list[Damage] = field(default_factory=list[Damage])
    paths: dict[Path, None] = field(default_factory=dict[Path, None])

    def add(self, folder: Path, file: str, what: str, path: Path) -> None:
        """Note a damaged file of `folder`; `path` is what a repair moves to quarantine."""
        self.damaged.append(Damage(folder.relative_to(self.root).as_posix(), file, what))
        self.paths[path] = None


def verify(root: Path, *, repair: bool = False) -> Report:
    """Check all manifests, crops, specs and packs.

    Args:
        repair: move damaged units to CACHE/quarantine, so that the next detect makes them again. With a damaged
            spec.json its folder goes, too, since nothing else says what these crops are. A damaged pack is deleted.

    Raises:
        CacheError: the cache has a newer format, or can't be read or repaired.
    """
    found = _Findings(root, remote_of(root))
    try:
        pull_all(root)
        _check_format(found)
        for entries in ENTRIES:
            for folder in _visible(root / entries):
                _check_fingerprint(folder, found)
        for pack in _visible(root / "packs"):
            if wrong := pack_damage(pack, again=True):
                found.add(pack, "pixels.npy", wrong, pack)
    except OSError as error:
        raise CacheError(f"cannot check the cache at {root}: {error}") from error
    if repair:
        try:
            _repair(found)
        except OSError as error:
            raise CacheError(layout.unwritable_message(root, error)) from error
    return Report(found.units, found.crops, tuple(found.damaged), len(found.paths) if repair else 0)


def stats(root: Path) -> dict[str, Any]:
    """Return counts and sizes per fingerprint, and of packs, staging and quarantine, for `cache stats --json`.

    Raises:
        CacheError: the cache has a newer format or can't be read.
    """
    layout.check_format(root)
    pull_all(root)
    try:
        return {
            "cache": address(root),
            "fingerprints": [_fingerprint_stats(folder) for folder in _visible(root / "crops")],
            "detections": [_fingerprint_stats(folder) for folder in _visible(root / "detect")],
            "packs": _folder_stats(root / "packs"),
            "staging": _folder_stats(root / "tmp"),
            "quarantine": _folder_stats(root / "quarantine"),
        }
    except OSError as error:
        raise CacheError(f"cannot read the cache at {root}: {error}") from error


def _check_format(found: _Findings) -> None:
    path = found.root / layout.FORMAT_FILE
    wrong = layout.format_damage(found.root)
    if not wrong and not path.is_file() and any(any(_visible(found.root / entries)) for entries in ENTRIES):
        wrong = "is missing"
    if wrong:
        found.add(found.root, layout.FORMAT_FILE, wrong, path)


def _check_fingerprint(folder: Path, found: _Findings) -> None:
    """Check CACHE/detect/<fingerprint> or CACHE/crops/<fingerprint>."""
    wrong = layout.spec_damage(folder, folder.name)
    # It is written before the first unit, so a killed run may leave a folder with neither.
    if not wrong and not (folder / layout.SPEC_FILE).is_file() and any(_visible(folder / "units")):
        wrong = "is missing"
    if wrong:
        found.add(folder, layout.SPEC_FILE, wrong, folder)
    for path in _visible(folder):
        if path.name not in {layout.SPEC_FILE, "units"}:
            found.add(folder, path.name, UNEXPECTED, path)
    for prefix in _visible(folder / "units"):
        if not prefix.is_dir():
            found.add(prefix.parent, prefix.name, UNEXPECTED, prefix)
            continue
        for unit in _visible(prefix):
            if unit.suffix == TAR:
                continue  # checked with its manifest; without one, `cache gc` deletes it
            if unit.name.startswith(prefix.name) and (unit.is_dir() or unit.suffix == MANIFEST_SUFFIX):
                _check_unit(unit, found)
            else:
                found.add(prefix, unit.name, UNEXPECTED, unit)


def _check_unit(unit: Path, found: _Findings) -> None:
    entries, damaged = check_mirrored_unit(found.remote, unit)
    found.units += 1
    found.crops += sum(bool(entry.file) for entry in entries)
    for file, what in damaged:
        found.add(unit.parent if unit.suffix == MANIFEST_SUFFIX else unit, file, what, unit)
        for tar in {entry.file for entry in entries if entry.offset}:
            found.paths[unit.parent / tar] = None  # it would block the next one with its name
    expected = {MANIFEST, *(entry.file for entry in entries)}
    for path in _visible(unit):
        if entries and path.name not in expected:
            found.add(unit, path.name, UNEXPECTED, path)


def _repair(found: _Findings) -> None:
    """Delete damaged packs and move everything else to quarantine."""
    for path in found.paths:
        relative = path.relative_to(found.root)
        if relative.parts[0] == "packs":
            shutil.rmtree(path)
        elif path.exists():
            quarantine = found.root / "quarantine"
            quarantine.mkdir(exist_ok=True)
            name = "-".join(relative.parts)
            number = 0
            while (target := quarantine / f"{name}.{number}").exists():
                number += 1
            path.rename(target)
            if found.remote:
                found.remote.delete(path)
    if found.root / layout.FORMAT_FILE in found.paths:
        layout.write_format(found.root)


def _fingerprint_stats(folder: Path) -> dict[str, Any]:
    photos: dict[str, Entry] = {}
    units = damaged = size_bytes = 0
    for unit in units_in(folder / "units"):
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
        "fingerprint": folder.name,
        "units": units,
        "damaged_units": damaged,
        "ok": ok,
        "failed": dict(outcomes),
        "bytes": size_bytes,
    }


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below a folder; 0 if there is none."""
    size_bytes = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a staged unit that was committed meanwhile
            size_bytes += file.stat().st_size if file.is_file() else 0
    return size_bytes


def _folder_stats(folder: Path) -> dict[str, int]:
    return {"count": sum(1 for _ in _visible(folder)), "bytes": folder_bytes(folder)}


def _visible(folder: Path) -> Iterator[Path]:
    """Yield a folder's contents sorted by name, without hidden files; nothing if it does not exist."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if not path.name.startswith(".") and path.name not in SYSTEM_FILES:
                yield path
