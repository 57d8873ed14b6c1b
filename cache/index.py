"""Which photos a store holds, without reading what it knows of them.

a folder of units -> their members' source ids, sorted, and where each is -> what a run still has to do.

It is made from the manifests whenever a store is opened and is never kept: there is no index that could be lost or be
behind. Ten million photos take about 50 bytes each, and half a minute.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache.unit import OK, Entry, UnitError, intact_body, read_manifest, units_in

Ids = NDArray[np.uint8]
ID_BYTES = 32
UNITS_AT_ONCE = 256
IDS_AT_ONCE = 1 << 20
THREADS = 4  # reading and hashing leave Python's lock

# A manifest's keys are sorted, so that each of its lines ends with the source id.
BEFORE_ID, AFTER_ID = b'"source":"', b'"}'
TAIL = len(BEFORE_ID) + 2 * ID_BYTES + len(AFTER_ID)
NO_DIGIT = 255
DIGITS = np.full(256, NO_DIGIT, np.uint8)
DIGITS[list(b"0123456789abcdef")] = np.arange(16)


class Index:
    """The members of every unit in a folder.

    Args:
        units: the folder, with units in folders of two digits; it may be missing.

    Attributes:
        damaged: units that are not as they were committed, and why; their photos count as missing.
    """

    def __init__(self, units: Path) -> None:
        self.damaged: dict[Path, str] = {}
        self._added: dict[str, tuple[bool, str, Path]] = {}
        # Sorted by name: where two units hold the same photo, the first one is read.
        self._units = sorted(units_in(units), key=lambda unit: unit.name)
        parts = [self._units[start : start + UNITS_AT_ONCE] for start in range(0, len(self._units), UNITS_AT_ONCE)]
        with ThreadPoolExecutor(THREADS) as pool:
            told = list(pool.map(_members_of, parts))
        for _, _, _, damaged in told:
            self.damaged.update(damaged)
        counts = np.concatenate([np.zeros(0, np.intp), *(counts for _, _, counts, _ in told)])
        ids = np.concatenate([np.zeros((0, ID_BYTES), np.uint8), *(ids for ids, _, _, _ in told)])
        succeeded = np.concatenate([np.zeros(0, bool), *(ok for _, ok, _, _ in told)])
        del told
        order = _reading_order(ids, succeeded)
        self._ids, self._ok = ids[order], succeeded[order]
        self._unit = np.repeat(np.arange(len(counts), dtype=np.int32), counts)[order]
        self._begins = _beginnings(self._ids)

    def unit(self, source: str) -> Path | None:
        """The unit whose entry of this source id everybody reads: one that succeeded, or has the smaller name."""
        added = self._added.get(source)
        row = self._find(bytes.fromhex(source))
        if row < 0:
            return added[2] if added else None
        known = self._units[self._unit[row]]
        return added[2] if added and added[:2] < (not self._ok[row], known.name) else known

    def add(self, unit: Path, entries: Iterable[Entry]) -> None:
        """Take in a unit that was committed since."""
        for entry in entries:
            order = (entry.outcome != OK, unit.name, unit)
            self._added[entry.source] = min(order, self._added.get(entry.source, order))

    def has(self, ids: Ids, *, retry: bool = False) -> NDArray[np.bool_]:
        """Which of some source ids, (N, 32) uint8, have an entry; with `retry`, one that is no failure."""
        found = np.zeros(len(ids), bool)
        for start in range(0, len(ids) if len(self._ids) else 0, IDS_AT_ONCE):
            part = ids[start : start + IDS_AT_ONCE]
            begins = _beginnings(part)
            order = np.argsort(
                begins
            )  # sorted look-ups find their neighbours in the processor's cache: 8 times as fast
            begins = begins[order]
            rows = np.minimum(np.searchsorted(self._begins, begins), len(self._ids) - 1)
            alike = np.flatnonzero(self._begins[rows] == begins)
            rows, order = rows[alike], order[alike]
            same = (self._ids[rows] == part[order]).all(axis=1)
            # As good as never: other ids with the same beginning stand before this one.
            for doubtful in np.flatnonzero(~same):
                row = self._find(part[order[doubtful]].tobytes())
                rows[doubtful], same[doubtful] = row, row >= 0
            found[start + order] = same & (self._ok[rows] if retry else True)
        if self._added:
            for row in np.flatnonzero(~found):
                added = self._added.get(ids[row].tobytes().hex())
                found[row] = added is not None and not (retry and added[0])
        return found

    def sources(self) -> Iterator[str]:
        """Every source id that has an entry, in order, each once."""
        known = {row.tobytes().hex() for row in self._ids}
        yield from sorted(known | self._added.keys())

    def _find(self, wanted: bytes) -> int:
        """The row that is read for a source id, or -1."""
        begin = np.frombuffer(wanted[:8], ">u8").astype(np.uint64)[0]
        row = int(np.searchsorted(self._begins, begin))
        while row < len(self._ids) and self._begins[row] == begin:
            if self._ids[row].tobytes() == wanted:
                return row
            row += 1
        return -1


def ids_of(sources: Sequence[str]) -> Ids:
    """Source ids in hexadecimal as (N, 32) uint8."""
    whole = np.empty((len(sources), ID_BYTES), np.uint8)
    for start in range(0, len(sources), IDS_AT_ONCE):
        part = sources[start : start + IDS_AT_ONCE]
        whole[start : start + len(part)] = np.frombuffer(bytes.fromhex("".join(part)), np.uint8).reshape(-1, ID_BYTES)
    return whole


def members(unit: Path) -> tuple[Ids, NDArray[np.bool_]]:
    """The source ids of a unit, (n, 32) uint8, and which of its photos succeeded.

    Raises:
        UnitError: the manifest is missing, torn, edited or not understood.
    """
    body = intact_body(unit)
    letters = np.frombuffer(body, np.uint8)
    ends = np.flatnonzero(letters == ord("\n"))
    if not len(ends) or ends[0] < TAIL:
        return _parsed_members(unit)
    tails = letters[(ends - TAIL)[:, None] + np.arange(TAIL)]
    digits = DIGITS[tails[:, len(BEFORE_ID) : -len(AFTER_ID)]]
    as_written = (tails[:, : len(BEFORE_ID)] == np.frombuffer(BEFORE_ID, np.uint8)).all() and (
        tails[:, -len(AFTER_ID) :] == np.frombuffer(AFTER_ID, np.uint8)
    ).all()
    # In a string, the quotes of these letters would have backslashes.
    if not as_written or (digits == NO_DIGIT).any() or body.count(b'"outcome":"ok"') != len(ends):
        return _parsed_members(unit)
    ids = (digits[:, ::2] << 4 | digits[:, 1::2]).astype(np.uint8, copy=False)
    return ids, np.ones(len(ends), bool)


def _parsed_members(unit: Path) -> tuple[Ids, NDArray[np.bool_]]:
    entries = read_manifest(unit)
    ids = ids_of([entry.source for entry in entries])
    return ids, np.array([entry.outcome == OK for entry in entries], bool)


def _members_of(units: Sequence[Path]) -> tuple[Ids, NDArray[np.bool_], NDArray[np.intp], dict[Path, str]]:
    """The members of some units one after the other, how many each has, and which units are damaged."""
    ids: list[Ids] = []
    succeeded: list[NDArray[np.bool_]] = []
    damaged: dict[Path, str] = {}
    for unit in units:
        try:
            its_ids, ok = members(unit)
        except UnitError as error:
            damaged[unit] = str(error)
            its_ids, ok = np.zeros((0, ID_BYTES), np.uint8), np.zeros(0, bool)
        ids.append(its_ids)
        succeeded.append(ok)
    return np.concatenate(ids), np.concatenate(succeeded), np.array([len(ok) for ok in succeeded], np.intp), damaged


def _reading_order(ids: Ids, succeeded: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Rows sorted by id; of the rows of one id, the one that everybody reads is first."""
    begins = _beginnings(ids)
    order = np.argsort(begins, kind="stable")
    begins = begins[order]
    doubled = np.zeros(len(ids), bool)
    doubled[1:] = begins[1:] == begins[:-1]
    doubled[:-1] |= doubled[1:]
    rows = order[doubled]
    words = ids[rows].view(">u8")
    order[doubled] = rows[np.lexsort((~succeeded[rows], words[:, 3], words[:, 2], words[:, 1], words[:, 0]))]
    return order


def _beginnings(ids: Ids) -> NDArray[np.uint64]:
    """The first eight bytes of each id as a number; numbers sort as the ids do."""
    return ids[:, :8].copy().view(">u8").astype(np.uint64)[:, 0]
