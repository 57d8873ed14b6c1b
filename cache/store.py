"""All crops of one kind: every photo that was ever cropped with these settings.

spec (a JSON object) -> its fingerprint -> a folder of units -> entries by source id, and their crops.

There is no index to lose and no lock to leave behind: the units are the truth, each is written once, and two writers
of the same unit agree because the first one wins.
"""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cache import atomic
from cache.config import canonical_json, fingerprint
from cache.errors import CacheError
from cache.unit import OK, Entry, UnitError, read_crop, read_manifest, unit_name, write_unit

FORMAT = 1
UNIT_SIZE = 256  # photos; a kill costs one unit, and 256 syncs cost about a tenth of a second


class CropStore:
    """The crops that one spec describes.

    Args:
        root: the cache's folder; nothing is written before the first commit, so a read-only cache works.
        spec: everything that the crops depend on.
        suffix: of the crops' file names.

    Raises:
        CacheError: the cache was written by a newer faceline, or its spec.json is damaged.
    """

    def __init__(self, root: Path, spec: Mapping[str, Any], suffix: str = ".jpg") -> None:
        check_format(root)
        self.root = root
        self.fingerprint = fingerprint(spec)
        self.folder = root / "crops" / self.fingerprint[:16]
        self.damaged: dict[Path, str] = {}
        self._spec, self._suffix = spec, suffix
        self._entries: dict[str, tuple[Path, Entry]] | None = None
        self._check_spec()

    def entries(self) -> Mapping[str, Entry]:
        """Every committed entry by source id. Damaged units are left out and listed in `damaged`."""
        return {source: entry for source, (_, entry) in self._load().items()}

    def entry(self, source: str) -> Entry | None:
        """The committed entry of one source id."""
        found = self._load().get(source)
        return found[1] if found else None

    def missing(self, sources: Iterable[str]) -> list[str]:
        """The ids that have no entry yet, sorted, each once."""
        return sorted(set(sources) - self._load().keys())

    def commit(self, items: Sequence[tuple[Entry, bytes | None]]) -> str:
        """Write one unit; returns its name.

        Args:
            items: at most `UNIT_SIZE` entries; with a crop where the outcome is "ok", else with None.

        Raises:
            CacheError: the disk is full or can't be written, or the unit that is there already is damaged.
        """
        if not 0 < len(items) <= UNIT_SIZE or any((entry.outcome == OK) != (crop is not None) for entry, crop in items):
            raise ValueError(f"a unit has 1 to {UNIT_SIZE} entries, with a crop where the outcome is {OK!r}")
        self._describe()
        name = unit_name([entry.source for entry, _ in items])
        target = self.folder / "units" / name[:2] / name
        write_unit(target, self.root / "tmp", items, self._suffix)
        loaded = self._load()
        try:
            for entry in read_manifest(target):
                loaded.setdefault(entry.source, (target, entry))
        except UnitError as error:
            raise CacheError(_repair(target, error, self.root)) from error
        return name

    def read(self, source: str) -> bytes:
        """The crop of a source id; its hash is checked on every read.

        Raises:
            CacheError: there is none, or it is not what was committed.
        """
        found = self._load().get(source)
        if found is None or found[1].outcome != OK:
            raise CacheError(f"the cache at {self.root} has no crop of source {source}; run faceline detect first")
        unit, entry = found
        try:
            return read_crop(unit, entry)
        except UnitError as error:
            raise CacheError(_repair(unit, error, self.root)) from error

    def _load(self) -> dict[str, tuple[Path, Entry]]:
        if self._entries is None:
            self._entries = {}
            # Sorted: where two units hold the same photo, everybody reads the same one.
            for unit in sorted((self.folder / "units").glob("??/*")):
                try:
                    for entry in read_manifest(unit):
                        self._entries.setdefault(entry.source, (unit, entry))
                except UnitError as error:
                    self.damaged[unit] = str(error)
        return self._entries

    def _check_spec(self) -> None:
        path = self.folder / "spec.json"
        if not path.is_file():
            return
        try:
            told = canonical_json(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            told = ""
        if told != canonical_json(self._spec):
            raise CacheError(
                f"{path} is damaged; mend the cache with: faceline cache verify --repair --cache {self.root}"
            )

    def _describe(self) -> None:
        try:
            mark = self.root / "CACHE.json"
            if not mark.is_file():
                atomic.write_text(mark, canonical_json({"format": FORMAT, "uuid": uuid.uuid4().hex}) + "\n")
            spec = self.folder / "spec.json"
            if not spec.is_file():
                atomic.write_text(spec, json.dumps(self._spec, indent=1, sort_keys=True) + "\n")
        except OSError as error:
            raise CacheError(
                f"cannot write to the cache at {self.root}: {error.strerror}. Name another folder with --cache DIR."
            ) from error


def check_format(root: Path) -> None:
    """Refuse a cache that this version does not understand.

    Raises:
        CacheError: CACHE.json is damaged or of a newer format.
    """
    path = root / "CACHE.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))["format"]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CacheError(f"{path} can't be read ({error}); name another cache with --cache DIR") from error
    if not isinstance(told, int) or told > FORMAT:
        raise CacheError(
            f"the cache at {root} was written by a newer faceline (format {told}, this one knows {FORMAT}); "
            "upgrade faceline, or name another cache with --cache DIR"
        )


def _repair(unit: Path, error: UnitError, root: Path) -> str:
    mend = f"faceline cache verify --repair --cache {root}"
    return f"unit {unit.name} of the cache is damaged: {error}.\nMend it with: {mend}"
