"""Index the source ids of a store's units, without parsing the entries.

a folder of units -> the sorted source ids of their members and the unit of each -> what a run still has to do.

The index is built from the manifests whenever a store is opened and is never saved, so it can't be lost or outdated.
It takes about 50 bytes per photo, and half a minute for ten million photos.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache.unit import OK, Entry, UnitError, read_body, read_manifest, units_in

Ids = NDArray[np.uint8]
ID_BYTES = 32
UNITS_AT_ONCE = 256
IDS_AT_ONCE = 1 << 20
THREADS = 4  # reading and hashing release Python's lock

# The keys of a manifest line are sorted, so each line ends with the source id.
BEFORE_ID, AFTER_ID = b'"source":"', b'"}'
TAIL = len(BEFORE_ID) + 2 * ID_BYTES + len(AFTER_ID)
NO_DIGIT = 255
DIGITS = np.full(256, NO_DIGIT, np.uint8)
DIGITS[list(b"0123456789abcdef")] = np.arange(16)


Rank = tuple[bool, int, str]


def rank(unit_name: str, retry: int, *, succeeded: bool) -> Rank:
    """Order the entries of one photo in several units; the lowest is read: a success, then the latest failure.

    Args:
        retry: how often the unit's photos were tried before.
    """
    return not succeeded, 0 if succeeded else -retry, unit_name


@dataclass(frozen=True, slots=True)
class _Members:
    """The members of some units, one after another."""

    ids: Ids  # (n, 32)
    succeeded: NDArray[np.bool_]  # (n,)
    counts: NDArray[np.intp]  # members of each unit
    retries: NDArray[np.intp]  # how often each unit's photos were tried before
    damaged: dict[Path, str]


class Index:
    """The members of every unit in a folder.

    Args:
        units: the folder, with units in two-digit subfolders; it may be missing.

    Attributes:
        damaged: units that differ from what was committed, and how; their photos count as missing.
    """

    def __init__(self, units: Path) -> None:
        self.damaged: dict[Path, str] = {}
        self._added: dict[str, tuple[Rank, Path]] = {}
        # Sorted by name: where two units hold the same photo, the first one is read if all else is equal.
        self._units = sorted(units_in(units), key=lambda unit: unit.name)
        parts = [self._units[start : start + UNITS_AT_ONCE] for start in range(0, len(self._units), UNITS_AT_ONCE)]
        with ThreadPoolExecutor(THREADS) as pool:
            members_of_parts = list(pool.map(_members_of, parts))
        for part in members_of_parts:
            self.damaged.update(part.damaged)
        counts = np.concatenate([np.zeros(0, np.intp), *(part.counts for part in members_of_parts)])
        ids = np.concatenate([np.zeros((0, ID_BYTES), np.uint8), *(part.ids for part in members_of_parts)])
        succeeded = np.concatenate([np.zeros(0, bool), *(part.succeeded for part in members_of_parts)])
        self._retries = np.concatenate([np.zeros(0, np.intp), *(part.retries for part in members_of_parts)])
        del members_of_parts  # halves the peak memory
        order = _reading_order(ids, succeeded, np.repeat(self._retries, counts))
        self._ids, self._ok = ids[order], succeeded[order]
        self._unit = np.repeat(np.arange(len(counts), dtype=np.int32), counts)[order]
        self._begins = _beginnings(self._ids)

    def unit(self, source: str) -> Path | None:
        """Return the unit to read a source id from, the one of the lowest rank; None if there is none."""
        added = self._added.get(source)
        row = self._find(bytes.fromhex(source))
        if row < 0:
            return added[1] if added else None
        number = self._unit[row]
        indexed = self._units[number]
        indexed_rank = rank(indexed.name, int(self._retries[number]), succeeded=bool(self._ok[row]))
        return added[1] if added and added[0] < indexed_rank else indexed

    def add(self, unit: Path, entries: Iterable[Entry], retry: int = 0) -> None:
        """Add a unit that was committed after the index was built; see `rank` for `retry`."""
        for entry in entries:
            new = rank(unit.name, retry, succeeded=entry.outcome == OK), unit
            self._added[entry.source] = min(new, self._added.get(entry.source, new))

    def has(self, ids: Ids, *, succeeded: bool = False) -> NDArray[np.bool_]:
        """Check which source ids, (N, 32) uint8, have an entry, as (N,) bool; with `succeeded`, no failure."""
        found = np.zeros(len(ids), bool)
        for start in range(0, len(ids) if len(self._ids) else 0, IDS_AT_ONCE):
            part = ids[start : start + IDS_AT_ONCE]
            begins = _beginnings(part)
            order = np.argsort(begins)  # sorted look-ups hit the processor's cache: 8 times as fast
            begins = begins[order]
            rows = np.minimum(np.searchsorted(self._begins, begins), len(self._ids) - 1)
            matching = np.flatnonzero(self._begins[rows] == begins)
            rows, order = rows[matching], order[matching]
            same = (self._ids[rows] == part[order]).all(axis=1)
            # Practically never: other ids with the same first eight bytes come before this one.
            for doubtful in np.flatnonzero(~same):
                row = self._find(part[order[doubtful]].tobytes())
                rows[doubtful], same[doubtful] = row, row >= 0
            found[start + order] = same & (self._ok[rows] if succeeded else True)
        if self._added:
            for row in np.flatnonzero(~found):
                added = self._added.get(ids[row].tobytes().hex())
                found[row] = added is not None and not (succeeded and added[0][0])
        return found

    def sources(self) -> Iterator[str]:
        """Yield each source id that has an entry once, sorted."""
        yield from sorted({row.tobytes().hex() for row in self._ids} | self._added.keys())

    def _find(self, source: bytes) -> int:
        """Return the row to read for a source id, or -1."""
        begin = np.frombuffer(source[:8], ">u8").astype(np.uint64)[0]
        row = int(np.searchsorted(self._begins, begin))
        while row < len(self._ids) and self._begins[row] == begin:
            if self._ids[row].tobytes() == source:
                return row
            row += 1
        return -1


def ids_of(sources: Sequence[str]) -> Ids:
    """Convert hexadecimal source ids to (N, 32) uint8."""
    ids = np.empty((len(sources), ID_BYTES), np.uint8)
    for start in range(0, len(sources), IDS_AT_ONCE):
        part = sources[start : start + IDS_AT_ONCE]
        ids[start : start + len(part)] = np.frombuffer(bytes.fromhex("".join(part)), np.uint8).reshape(-1, ID_BYTES)
    return ids


def members(unit: Path) -> tuple[Ids, NDArray[np.bool_], int]:
    """Read a unit's source ids, (n, 32) uint8, which succeeded, (n,) bool, and how often they were tried before.

    Raises:
        UnitError: the manifest is missing, torn, edited or not understood.
    """
    body, retry = read_body(unit)
    letters = np.frombuffer(body, np.uint8)
    ends = np.flatnonzero(letters == ord("\n"))
    if not len(ends) or ends[0] < TAIL:
        return *_parsed_members(unit), retry
    tails = letters[(ends - TAIL)[:, None] + np.arange(TAIL)]
    digits = DIGITS[tails[:, len(BEFORE_ID) : -len(AFTER_ID)]]
    as_written = (tails[:, : len(BEFORE_ID)] == np.frombuffer(BEFORE_ID, np.uint8)).all() and (
        tails[:, -len(AFTER_ID) :] == np.frombuffer(AFTER_ID, np.uint8)
    ).all()
    # Inside a JSON string, these quotes would be escaped, so the count can't be wrong.
    if not as_written or (digits == NO_DIGIT).any() or body.count(b'"outcome":"ok"') != len(ends):
        return *_parsed_members(unit), retry
    ids = (digits[:, ::2] << 4 | digits[:, 1::2]).astype(np.uint8, copy=False)
    return ids, np.ones(len(ends), bool), retry


def _parsed_members(unit: Path) -> tuple[Ids, NDArray[np.bool_]]:
    """Read a unit's members by parsing its lines: slower, but for any outcome."""
    entries = read_manifest(unit)
    ids = ids_of([entry.source for entry in entries])
    return ids, np.array([entry.outcome == OK for entry in entries], bool)


def _members_of(units: Sequence[Path]) -> _Members:
    """Return the members of all units; damaged ones have none."""
    nothing = np.zeros((0, ID_BYTES), np.uint8), np.zeros(0, bool), 0
    parts: list[tuple[Ids, NDArray[np.bool_], int]] = []
    damaged: dict[Path, str] = {}
    for unit in units:
        try:
            parts.append(members(unit))
        except UnitError as error:
            damaged[unit] = str(error)
            parts.append(nothing)
    ids, succeeded, retries = zip(nothing, *parts, strict=True)
    counts = np.array([len(part) for part in ids[1:]], np.intp)
    return _Members(np.concatenate(ids), np.concatenate(succeeded), counts, np.array(retries[1:], np.intp), damaged)


def _reading_order(ids: Ids, succeeded: NDArray[np.bool_], retries: NDArray[np.intp]) -> NDArray[np.intp]:
    """Sort rows by id; of several rows with one id, the row to read comes first: see `rank`."""
    begins = _beginnings(ids)
    order = np.argsort(begins, kind="stable")
    begins = begins[order]
    repeated = np.zeros(len(ids), bool)
    repeated[1:] = begins[1:] == begins[:-1]
    repeated[:-1] |= repeated[1:]
    rows = order[repeated]
    words = ids[rows].view(">u8")
    latest = np.where(succeeded[rows], 0, -retries[rows])
    order[repeated] = rows[np.lexsort((latest, ~succeeded[rows], words[:, 3], words[:, 2], words[:, 1], words[:, 0]))]
    return order


def _beginnings(ids: Ids) -> NDArray[np.uint64]:
    """Return the first eight bytes of each id as a number; the numbers sort like the ids."""
    return ids[:, :8].copy().view(">u8").astype(np.uint64)[:, 0]
