"""Stores: all photos that were ever detected, or cropped, with one spec.

spec (a JSON object) -> its fingerprint -> a folder of units -> entries by source id, and their crops.

Only the units count, so no index can be lost and no lock can be left behind. Each unit is written once; of two writers
of the same unit, the first one wins.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache import layout
from cache.config import fingerprint
from cache.errors import CacheError
from cache.index import Ids, Index, ids_of
from cache.names import unit_name
from cache.objects import check_mirrored_unit, put_crops, put_unit, read_mirrored_crop
from cache.remote import address, remote_of
from cache.unit import (
    MANIFEST_SUFFIX,
    OK,
    Entry,
    UnitError,
    manifest_of_entries,
    read_crop,
    read_unit,
    write_single_file,
    write_unit,
)

RetryRule = Callable[[Entry], bool]  # whether a failure is tried again
MANIFESTS_KEPT = 4096  # of the units that were read last, in a process that runs on and on
UNIT_SIZE = 256  # photos; a killed run loses one unit, and its 256 syncs take a fraction of a second


class Store:
    """The entries of one spec.

    Args:
        root: the cache's folder; nothing is written before the first commit, so a read-only cache works.
        kind: the subfolder, "detect" or "crops".
        spec: everything that the entries depend on.

    Raises:
        CacheError: the cache was written by a newer faceline, or its CACHE.json or spec.json is damaged.
    """

    _single_file = False  # whether each unit is only a manifest

    def __init__(self, root: Path, kind: str, spec: Mapping[str, Any]) -> None:
        layout.check_format(root)
        self.root = root
        self.fingerprint = fingerprint(spec)
        self.folder = root / kind / self.fingerprint[:16]
        self._spec = spec
        self._remote = remote_of(root)
        if self._remote:
            self._remote.pull(self.folder / layout.SPEC_FILE)
        self._opened_index: Index | None = None
        self._manifests: dict[Path, dict[str, Entry]] = {}  # of the units that were read
        if wrong := layout.spec_damage(self.folder, self.fingerprint):
            raise CacheError(layout.damage_message(root, f"{self.folder / layout.SPEC_FILE} {wrong}"))

    @property
    def damaged(self) -> Mapping[Path, str]:
        """Units that differ from what was committed, and how; their photos count as missing."""
        return self._index.damaged

    def entries(self) -> dict[str, Entry]:
        """Return all committed entries by source id, without those of damaged units."""
        return self.known(self._index.sources())

    def entry(self, source: str) -> Entry | None:
        """Return the committed entry of a source id; None if there is none."""
        unit = self._index.unit(source)
        return self._manifest(unit)[source] if unit else None

    def has_unit(self, sources: Sequence[str]) -> bool:
        """Whether the unit with these members has been committed, by this run or another one."""
        unit = self._path_of(sources)
        if exists := self._exists(unit):
            self._add_to_index(unit)
        return exists

    def units(self) -> Iterator[list[Entry]]:
        """Yield the entries that are in use, unit by unit."""
        members: dict[Path, list[str]] = {}
        for source in self._index.sources():
            if unit := self._index.unit(source):
                members.setdefault(unit, []).append(source)
        for unit, sources in members.items():
            in_use = set(sources)
            yield [entry for source, entry in self._manifest(unit).items() if source in in_use]

    def missing(self, sources: Iterable[str], *, retry: RetryRule | None = None) -> list[str]:
        """Return the ids without an entry, and those whose failure is to be tried again, sorted, each once."""
        requested = sorted(set(sources))
        ids = ids_of(requested)
        present = self.has(ids)
        if retry:
            for index in np.flatnonzero(present & ~self.has(ids, succeeded=True)):
                entry = self.entry(requested[index])
                present[index] = entry is not None and not retry(entry)
        return [source for source, has_entry in zip(requested, present, strict=True) if not has_entry]

    def has(self, ids: Ids, *, succeeded: bool = False) -> NDArray[np.bool_]:
        """Check which source ids, (N, 32) uint8, have an entry, as (N,) bool; with `succeeded`, one with a crop."""
        return self._index.has(ids, succeeded=succeeded)

    def known(self, sources: Iterable[str], *, retry: RetryRule | None = None) -> dict[str, Entry]:
        """Return the entries of those ids that have one, without failures that are to be tried again."""
        entries = {source: entry for source in sources if (entry := self.entry(source))}
        if retry is None:
            return entries
        return {source: entry for source, entry in entries.items() if entry.outcome == OK or not retry(entry)}

    def _commit(self, entries: Sequence[Entry], write: Callable[[Path, int], None]) -> str:
        """Write one unit with `write`, given its path and how often its photos were tried before; returns its name."""
        sources = [entry.source for entry in entries]
        if not 0 < len(set(sources)) == len(sources) <= UNIT_SIZE:
            raise ValueError(f"a unit has 1 to {UNIT_SIZE} entries of different sources, not {len(sources)}")
        retry = self._first_retry(entries)
        while self._exists(target := self._path_of(sources, retry)):
            # Another writer was first. Verify its unit before ours is dropped.
            _, damaged = check_mirrored_unit(self._remote, target)
            for _, wrong in damaged[:1]:
                raise CacheError(layout.damage_message(self.root, f"unit {target.name}: {wrong}"))
            self._add_to_index(target)
            if not self._superseded(entries):
                return target.name
            retry += 1
        try:
            layout.write_format(self.root)
            layout.write_spec(self.root, self.folder, self._spec)
            write(target, retry)
            self._add_to_index(target)
        except OSError as error:
            raise CacheError(layout.unwritable_message(self.root, error)) from error
        except UnitError as error:
            raise CacheError(layout.damage_message(self.root, f"unit {target.name}: {error}")) from error
        return target.name

    def _first_retry(self, entries: Sequence[Entry]) -> int:
        """Return 0, or a number above those of the units whose failures the entries replace, so that these are read."""
        units = {unit for old in self._superseded(entries) if (unit := self._index.unit(old.source))}
        return max((self._read_unit(unit)[1] + 1 for unit in units), default=0)

    def _superseded(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return the committed failures of photos that have succeeded now, or failed for another reason."""
        known = self.known(entry.source for entry in entries)
        return [
            old
            for entry in entries
            if (old := known.get(entry.source)) and old.outcome != OK
            and (old.outcome, old.facts) != (entry.outcome, entry.facts)
        ]  # fmt: skip

    def _exists(self, target: Path) -> bool:
        return target.exists() or (self._remote is not None and self._remote.pull(target))

    def _path_of(self, sources: Sequence[str], retry: int = 0) -> Path:
        """Return where the unit with these members is, or would be."""
        name = unit_name(sources, retry)
        suffix = MANIFEST_SUFFIX if self._single_file or self._remote else ""
        return self.folder / "units" / name[:2] / f"{name}{suffix}"

    @property
    def _index(self) -> Index:
        if self._opened_index is None:
            if self._remote:
                self._remote.pull_manifests(self.folder)
            self._opened_index = Index(self.folder / "units")
        return self._opened_index

    def _manifest(self, unit: Path) -> dict[str, Entry]:
        if unit not in self._manifests:
            if len(self._manifests) >= MANIFESTS_KEPT:
                self._manifests.clear()
            self._manifests[unit] = {entry.source: entry for entry in self._read_unit(unit)[0]}
        return self._manifests[unit]

    def _read_unit(self, unit: Path) -> tuple[list[Entry], int]:
        try:
            return read_unit(unit)
        except UnitError as error:  # it was intact when it was committed
            raise CacheError(layout.damage_message(self.root, f"unit {unit.name}: {error}")) from error

    def _add_to_index(self, unit: Path) -> None:
        # The entries are not kept: they take over 2 kB per photo, and a run that commits units seldom reads them again.
        self._index.add(unit, *self._read_unit(unit))


class FactStore(Store):
    """Facts about photos, without pixels. Each of its units is one file."""

    _single_file = True

    def __init__(self, root: Path, spec: Mapping[str, Any], kind: str = "detect") -> None:
        super().__init__(root, kind, spec)

    def commit(self, entries: Sequence[Entry]) -> str:
        """Write one unit of at most `UNIT_SIZE` entries; returns its name.

        Raises:
            CacheError: the disk is full or not writable, or the same unit exists and is damaged.
        """

        def write(target: Path, retry: int) -> None:
            if self._remote:
                put_unit(self._remote, target, manifest_of_entries(entries, retry))
            else:
                write_single_file(target, self.root, entries, retry)

        return self._commit(entries, write)


class CropStore(Store):
    """The crops of one spec; `suffix` ends their file names. See `Store`."""

    def __init__(self, root: Path, spec: Mapping[str, Any], suffix: str = ".jpg") -> None:
        super().__init__(root, "crops", spec)
        self._suffix = suffix

    def commit(self, items: Sequence[tuple[Entry, bytes | None]]) -> str:
        """Write one unit; returns its name.

        Args:
            items: at most `UNIT_SIZE` entries, each with its crop, or None if the outcome is not "ok".

        Raises:
            CacheError: the disk is full or not writable, or the same unit exists and is damaged.
        """
        if any((entry.outcome == OK) != (crop is not None) for entry, crop in items):
            raise ValueError(f"an entry must have a crop exactly if its outcome is {OK!r}")

        def write(target: Path, retry: int) -> None:
            if self._remote:
                put_crops(self._remote, target, items, self._suffix, retry)
            else:
                write_unit(target, self.root, items, self._suffix, retry)

        return self._commit([entry for entry, _ in items], write)

    def crop(self, source: str) -> Entry:
        """Return the entry of a source id that has a crop.

        Raises:
            CacheError: it has no crop.
        """
        entry = self.entry(source)
        if entry is None or entry.outcome != OK:
            why = f": {entry.outcome}" if entry else "; make it with: faceline detect"
            raise CacheError(f"the cache at {address(self.root)} has no crop of source {source}{why}")
        return entry

    def reading_order(self, sources: Sequence[str]) -> list[int]:
        """Return the indices of `sources` in an order in which those of one unit follow each other."""
        units = [unit.name if (unit := self._index.unit(source)) else "" for source in sources]
        return sorted(range(len(sources)), key=lambda index: (units[index], sources[index]))

    def read(self, source: str) -> bytes:
        """Return the crop of a source id; its sha256 is checked on every read.

        Raises:
            CacheError: there is none, or it differs from what was committed.
        """
        entry, unit = self.crop(source), self._index.unit(source)
        assert unit is not None
        try:
            if self._remote and entry.offset:
                return read_mirrored_crop(self._remote, unit, entry)
            return read_crop(unit, entry)
        except UnitError as error:
            raise CacheError(layout.damage_message(self.root, f"unit {unit.name}: {error}")) from error
