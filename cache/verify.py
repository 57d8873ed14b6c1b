"""Is the cache as it was written? `faceline cache verify` and `stats`."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache.config import fingerprint
from cache.store import check_format
from cache.unit import MANIFEST, OK, UnitError, read_crop, read_manifest


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is not as it was written.

    Attributes:
        unit: the unit's path below the cache, or the fingerprint's for its spec.json.
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
        repaired: units that were set aside.
    """

    units: int
    crops: int
    damaged: tuple[Damage, ...]
    repaired: int

    def as_json(self) -> dict[str, Any]:
        """What `cache verify --json` prints."""
        damaged = [{"unit": one.unit, "file": one.file, "what": one.what} for one in self.damaged]
        return {"units": self.units, "crops": self.crops, "damaged": damaged, "repaired": self.repaired}


def verify(root: Path, *, repair: bool = False) -> Report:
    """Check every manifest and every crop.

    Args:
        root: the cache's folder.
        repair: move damaged units to CACHE/quarantine; the next detect makes them again.

    Raises:
        CacheError: the cache is of a newer format.
    """
    check_format(root)
    units, crops, damaged, bad = 0, 0, list[Damage](), list[Path]()
    for kind in sorted(root.glob("crops/*")):
        wrong = _check_spec(kind)
        if wrong:
            damaged.append(Damage(kind.name, "spec.json", wrong))
            bad.append(kind)
        for unit in sorted(kind.glob("units/*/*")):
            units += 1
            found, checked = _check_unit(unit)
            crops += checked
            damaged += [Damage(str(unit.relative_to(root)), file, what) for file, what in found]
            if found and kind not in bad:
                bad.append(unit)
    if repair:
        for place in bad:
            _set_aside(place, root)
    return Report(units, crops, tuple(damaged), len(bad) if repair else 0)


def stats(root: Path) -> dict[str, Any]:
    """Counts and sizes per fingerprint, packs, stale staging and quarantine, as `cache stats --json` prints them."""
    check_format(root)
    return {
        "cache": str(root),
        "fingerprints": [_kind_stats(kind) for kind in sorted(root.glob("crops/*"))],
        "packs": {"count": len(list(root.glob("packs/*"))), "bytes": _size(root / "packs")},
        "staging": {"count": len(list(root.glob("tmp/*"))), "bytes": _size(root / "tmp")},
        "quarantine": {"count": len(list(root.glob("quarantine/*"))), "bytes": _size(root / "quarantine")},
    }


def _check_spec(kind: Path) -> str:
    try:
        spec = json.loads((kind / "spec.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return f"can't be read: {error}"
    return "" if fingerprint(spec)[:16] == kind.name else "was changed: it is not what the folder is named after"


def _check_unit(unit: Path) -> tuple[list[tuple[str, str]], int]:
    if not unit.is_dir():
        return [(unit.name, "is no unit and does not belong here")], 0
    try:
        entries = [entry for entry in read_manifest(unit) if entry.outcome == OK]
    except UnitError as error:
        return [(MANIFEST, str(error))], 0
    damaged: list[tuple[str, str]] = []
    for entry in entries:
        try:
            read_crop(unit, entry)
        except UnitError as error:
            damaged.append((entry.file, str(error)))
    known = {MANIFEST, *(entry.file for entry in entries)}
    damaged += [(file.name, "does not belong here") for file in sorted(unit.iterdir()) if file.name not in known]
    return damaged, len(entries)


def _set_aside(place: Path, root: Path) -> None:
    quarantine = root / "quarantine"
    quarantine.mkdir(exist_ok=True)
    number = sum(1 for _ in quarantine.glob(f"{place.name}*"))
    place.rename(quarantine / f"{place.name}.{number}")


def _kind_stats(kind: Path) -> dict[str, Any]:
    outcomes: Counter[str] = Counter()
    units, size = 0, 0
    for unit in kind.glob("units/*/*"):
        units += 1
        try:
            entries = read_manifest(unit)
        except UnitError:
            outcomes["damaged unit"] += 1
            continue
        outcomes.update(entry.outcome for entry in entries)
        size += sum(entry.size_bytes for entry in entries)
    ok = outcomes.pop(OK, 0)
    return {"fingerprint": kind.name, "units": units, "ok": ok, "failed": dict(outcomes), "bytes": size}


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
