"""What the cache keeps of one kind: every photo that was ever detected, or cropped, with these settings.

spec (a JSON object) -> its fingerprint -> a folder of units -> entries by source id, and their crops.

There is no index to lose and no lock to leave behind: the units are the truth, each is written once, and two writers
of the same unit agree because the first one wins.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.config import fingerprint
from cache.errors import CacheError
from cache.index import Ids, Index, ids_of
from cache.layout import (
    SPEC_FILE,
    check_format,
    damage_sentence,
    spec_damage,
    unwritable_sentence,
    write_format,
    write_spec,
)
from cache.objects import check_held, put_crops, put_unit, read_held
from cache.remote import address, remote_of
from cache.unit import (
    MANIFEST_SUFFIX,
    OK,
    Entry,
    UnitError,
    manifest_of_entries,
    read_crop,
    read_manifest,
    unit_name,
    write_alone,
    write_unit,
)

UNIT_SIZE = 256  # photos; a kill costs one unit, and its 256 syncs cost a fraction of a second


class Store:
    """The entries that one spec describes.

    Args:
        root: the cache's folder; nothing is written before the first commit, so a read-only cache works.
        kind: the folder in it.
        spec: everything that the entries depend on.

    Raises:
        CacheError: the cache was written by a newer faceline, or its CACHE.json or spec.json is damaged.
    """

    _alone = False  # whether each unit is a manifest by itself

    def __init__(self, root: Path, kind: str, spec: Mapping[str, Any]) -> None:
        check_format(root)
        self.root = root
        self.fingerprint = fingerprint(spec)
        self.folder = root / kind / self.fingerprint[:16]
        self._spec = spec
        self._remote = remote_of(root)
        if self._remote:
            self._remote.pull(self.folder / SPEC_FILE)
        self._known: Index | None = None
        self._manifests: dict[Path, dict[str, Entry]] = {}  # of the units that were asked about
        if wrong := spec_damage(self.folder, self.fingerprint):
            raise CacheError(damage_sentence(root, f"{self.folder / SPEC_FILE} {wrong}"))

    @property
    def damaged(self) -> Mapping[Path, str]:
        """Units that are not as they were committed, and why; their photos count as missing."""
        return self._index.damaged

    def entries(self) -> dict[str, Entry]:
        """Every committed entry by source id. Damaged units are left out."""
        return self.known(self._index.sources())

    def entry(self, source: str) -> Entry | None:
        """The committed entry of one source id."""
        unit = self._index.unit(source)
        return self._manifest(unit)[source] if unit else None

    def has_unit(self, sources: Sequence[str]) -> bool:
        """Whether the unit with these members was committed, by whomever and up to now."""
        if there := self._is_there(unit := self._place(sources)):
            self._take_in(unit)
        return there

    def units(self) -> Iterator[list[Entry]]:
        """The entries that are read, those of one unit together."""
        members: dict[Path, list[str]] = {}
        for source in self._index.sources():
            if unit := self._index.unit(source):
                members.setdefault(unit, []).append(source)
        for unit, sources in members.items():
            told = self._manifest(unit)
            yield [entry for source, entry in told.items() if source in set(sources)]

    def missing(self, sources: Iterable[str], *, retry: bool = False) -> list[str]:
        """The ids that have no entry yet, sorted, each once; with `retry` those, too, whose entry is a failure."""
        wanted = sorted(set(sources))
        there = self.has(ids_of(wanted), retry=retry)
        return [source for source, known in zip(wanted, there, strict=True) if not known]

    def has(self, ids: Ids, *, retry: bool = False) -> NDArray[np.bool_]:
        """Which of some source ids, (N, 32) uint8, have an entry; with `retry`, one that is no failure."""
        return self._index.has(ids, retry=retry)

    def known(self, sources: Iterable[str], *, retry: bool = False) -> dict[str, Entry]:
        """The entries of those ids that have one; with `retry`, failures do not count."""
        told = {source: entry for source in sources if (entry := self.entry(source))}
        return {source: entry for source, entry in told.items() if not (retry and entry.outcome != OK)}

    def _commit(self, entries: Sequence[Entry], write: Callable[[Path, int], None]) -> str:
        """Write one unit; returns its name.

        Args:
            entries: at most `UNIT_SIZE`, of different photos.
            write: writes the unit at a path, given how often these photos were tried before.

        Raises:
            CacheError: the disk is full or can't be written, or the unit that is there already is damaged.
        """
        sources = [entry.source for entry in entries]
        if not 0 < len(set(sources)) == len(sources) <= UNIT_SIZE:
            raise ValueError(f"a unit has 1 to {UNIT_SIZE} entries of different sources, not {len(sources)}")
        retry = 0
        while self._is_there(target := self._place(sources, retry)):
            # Somebody was first; all of it is checked before ours is dropped.
            for _, wrong in check_held(self._remote, target)[1][:1]:
                raise CacheError(damage_sentence(self.root, f"unit {target.name}: {wrong}"))
            self._take_in(target)
            known = self.known(sources)
            if not any(entry.outcome == OK != known[entry.source].outcome for entry in entries):
                return target.name
            retry += 1  # what failed then has succeeded now
        try:
            write_format(self.root)
            write_spec(self.root, self.folder, self._spec)
            write(target, retry)
            self._take_in(target)
        except OSError as error:
            raise CacheError(unwritable_sentence(self.root, error)) from error
        except UnitError as error:
            raise CacheError(damage_sentence(self.root, f"unit {target.name}: {error}")) from error
        return target.name

    def _is_there(self, target: Path) -> bool:
        return target.exists() or (self._remote is not None and self._remote.pull(target))

    def _place(self, sources: Sequence[str], retry: int = 0) -> Path:
        name = unit_name(sources, retry)
        return self.folder / "units" / name[:2] / f"{name}{MANIFEST_SUFFIX if self._alone or self._remote else ''}"

    @property
    def _index(self) -> Index:
        if self._known is None:
            if self._remote:
                self._remote.pull_manifests(self.folder)
            self._known = Index(self.folder / "units")
        return self._known

    def _manifest(self, unit: Path) -> dict[str, Entry]:
        if unit not in self._manifests:
            self._manifests[unit] = {entry.source: entry for entry in self._read_manifest(unit)}
        return self._manifests[unit]

    def _read_manifest(self, unit: Path) -> list[Entry]:
        try:
            return read_manifest(unit)
        except UnitError as error:  # it was whole when it was committed
            raise CacheError(damage_sentence(self.root, f"unit {unit.name}: {error}")) from error

    def _take_in(self, unit: Path) -> None:
        # Not kept: entries take 2 kB a photo and more, and who commits units for days seldom asks for one again.
        self._index.add(unit, self._read_manifest(unit))


class FactStore(Store):
    """What was found in photos, without any pixels. Its units are one file each."""

    _alone = True

    def __init__(self, root: Path, spec: Mapping[str, Any], kind: str = "detect") -> None:
        super().__init__(root, kind, spec)

    def commit(self, entries: Sequence[Entry]) -> str:
        """Write one unit of at most `UNIT_SIZE` entries; returns its name.

        Raises:
            CacheError: the disk is full or can't be written, or the unit that is there already is damaged.
        """

        def write(target: Path, retry: int) -> None:
            if self._remote:
                put_unit(self._remote, target, manifest_of_entries(entries, retry))
            else:
                write_alone(target, self.root, entries, retry)

        return self._commit(entries, write)


class CropStore(Store):
    """The crops that one spec describes.

    Args:
        root: the cache's folder; nothing is written before the first commit, so a read-only cache works.
        spec: everything that the crops depend on.
        suffix: of the crops' file names.

    Raises:
        CacheError: the cache was written by a newer faceline, or its CACHE.json or spec.json is damaged.
    """

    def __init__(self, root: Path, spec: Mapping[str, Any], suffix: str = ".jpg") -> None:
        super().__init__(root, "crops", spec)
        self._suffix = suffix

    def commit(self, items: Sequence[tuple[Entry, bytes | None]]) -> str:
        """Write one unit; returns its name.

        Args:
            items: at most `UNIT_SIZE` entries; with a crop where the outcome is "ok", else with None.

        Raises:
            CacheError: the disk is full or can't be written, or the unit that is there already is damaged.
        """
        if any((entry.outcome == OK) != (crop is not None) for entry, crop in items):
            raise ValueError(f"an entry has a crop where its outcome is {OK!r}, and only there")

        def write(target: Path, retry: int) -> None:
            if self._remote:
                put_crops(self._remote, target, items, self._suffix, retry)
            else:
                write_unit(target, self.root, items, self._suffix, retry)

        return self._commit([entry for entry, _ in items], write)

    def crop(self, source: str) -> Entry:
        """The entry of a source id that has a crop.

        Raises:
            CacheError: there is no crop of it.
        """
        entry = self.entry(source)
        if entry is None or entry.outcome != OK:
            why = f": {entry.outcome}" if entry else "; make it with: faceline detect"
            raise CacheError(f"the cache at {address(self.root)} has no crop of source {source}{why}")
        return entry

    def reading_order(self, sources: Sequence[str]) -> list[int]:
        """The places of `sources`, those of one unit one after the other."""
        units = [unit.name if (unit := self._index.unit(source)) else "" for source in sources]
        return sorted(range(len(sources)), key=lambda place: (units[place], sources[place]))

    def read(self, source: str) -> bytes:
        """The crop of a source id; its hash is checked on every read.

        Raises:
            CacheError: there is none, or it is not what was committed.
        """
        entry, unit = self.crop(source), self._index.unit(source)
        assert unit is not None
        try:
            if self._remote and entry.offset:
                return read_held(self._remote, unit, entry)
            return read_crop(unit, entry)
        except UnitError as error:
            raise CacheError(damage_sentence(self.root, f"unit {unit.name}: {error}")) from error
