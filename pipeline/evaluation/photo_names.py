"""Which photo of one table is which of another.

In: the names of photos in two tables. Out: for each name of the second table, the row of the first.

A name is a path below a folder, and the two tables may start from different folders: then one name is the end of the
other. Names that differ in a folder are different photos, even if the files have one name. Only where a table has bare
file names, as a submission has, are folders left out of the comparison.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

from cache.errors import DataError
from classify.tasks import comparable
from detect.formats import PHOTO_SUFFIXES

Parts = tuple[str, ...]  # a name's folders, and its file last
SHOWN = 3


def match_photos(first: Sequence[str], second: Sequence[str], first_table: str, second_table: str) -> list[int | None]:
    """Find the photos of the second table in the first one.

    Names are compared in one Unicode form, with either slash; those without a partner also without regard to capitals,
    and without endings if one table has none.

    Args:
        first, second: the names in each table, all different.
        first_table, second_table: what the tables are called in errors.

    Returns:
        For each name in `second`, the row of the same photo in `first`, or None.

    Raises:
        DataError: a name is twice in a table or may be two photos, or the tables have no photo in common.
    """
    first_parts = _all_parts(first, first_table)
    second_parts = _all_parts(second, second_table)
    rows: list[int | None] = [None] * len(second)
    spellings: list[Callable[[Parts], Parts]] = [lambda parts: parts, _without_capitals]
    if not (_have_endings(first_parts) and _have_endings(second_parts)):
        spellings.append(_without_ending)
    joiner = _Joiner(first_parts, second_parts, first_table, second_table)
    for spelling in spellings:
        joiner.join(spelling, rows)
    if all(row is None for row in rows):
        raise DataError(
            f"{first_table} and {second_table} have no photo in common: {_examples(first)} in the first, "
            f"{_examples(second)} in the second.\n"
            "Write the names of both below the same folder, or in one of them as bare file names if no two photos "
            "share one."
        )
    return rows


class _Joiner:
    """The names of two tables that have no partner yet."""

    def __init__(self, first: Sequence[Parts], second: Sequence[Parts], first_table: str, second_table: str) -> None:
        self._names = (first, second)
        self._tables = (first_table, second_table)
        self._is_bare = tuple(all(len(parts) == 1 for parts in names) for names in self._names)
        self._left = (set(range(len(first))), set(range(len(second))))

    def join(self, spelling: Callable[[Parts], Parts], rows: list[int | None]) -> None:
        """Put the rows of the photos that are the same in this spelling into `rows`."""
        spelt = tuple({row: spelling(self._names[side][row]) for row in self._left[side]} for side in (0, 1))
        pairs = self._equal(spelt)
        for row, other in pairs:
            del spelt[0][row], spelt[1][other]
        pairs += self._ends(spelt)
        for row, other in pairs:
            rows[other] = row
            self._left[0].discard(row)
            self._left[1].discard(other)

    def _equal(self, spelt: tuple[dict[int, Parts], ...]) -> list[tuple[int, int]]:
        """Pairs of names that are equal; a name that two photos share in this spelling has no partner."""
        rows_by_parts = [_rows_by_parts(spelt[side]) for side in (0, 1)]
        return [
            (rows[0], others[0])
            for parts, rows in rows_by_parts[0].items()
            if len(rows) == 1 and len(others := rows_by_parts[1].get(parts, [])) == 1
        ]

    def _ends(self, spelt: tuple[dict[int, Parts], ...]) -> list[tuple[int, int]]:
        """Pairs of names of which one is the end of the other, and the only one that is."""
        partners: tuple[defaultdict[int, set[int]], ...] = (defaultdict(set), defaultdict(set))
        bare: list[tuple[int, int, Parts]] = []  # with the folders that the other name has in addition
        folders: set[Parts] = set()
        for short_side, long_side in ((0, 1), (1, 0)):
            rows_by_parts = _rows_by_parts(spelt[short_side])
            for long_row, parts in spelt[long_side].items():
                for start in range(1, len(parts)):
                    for short_row in rows_by_parts.get(parts[start:], []):
                        pair = (short_row, long_row) if short_side == 0 else (long_row, short_row)
                        if start == len(parts) - 1 and not self._is_bare[short_side]:
                            bare.append((*pair, parts[:start]))
                            continue
                        folders.add(parts[:start])
                        partners[0][pair[0]].add(pair[1])
                        partners[1][pair[1]].add(pair[0])
        # Beside names with folders, a bare name is a file of the folder that these names start from.
        for row, other, start in bare:
            if start in folders:
                partners[0][row].add(other)
                partners[1][other].add(row)
        for side in (0, 1):
            for row, others in partners[side].items():
                if len(others) > 1:
                    self._refuse(side, row, sorted(others))
        return [(row, other) for row, others in partners[0].items() for other in others]

    def _refuse(self, side: int, row: int, others: Sequence[int]) -> None:
        """Raise the error for a name that may be several photos of the other table."""
        candidates = " or ".join("/".join(self._names[1 - side][other]) for other in others[:SHOWN])
        raise DataError(
            f"{self._tables[0]} and {self._tables[1]} have no photo in common for certain: "
            f"{'/'.join(self._names[side][row])} in {self._tables[side]} may be {candidates} in "
            f"{self._tables[1 - side]}.\nWrite the folders of the photos into both."
        )


def _rows_by_parts(spelt: dict[int, Parts]) -> defaultdict[Parts, list[int]]:
    rows: defaultdict[Parts, list[int]] = defaultdict(list)
    for row, parts in spelt.items():
        rows[parts].append(row)
    return rows


def _all_parts(names: Sequence[str], table: str) -> list[Parts]:
    """Split all names of a table, which must be different photos."""
    all_parts = [_parts(name) for name in names]
    seen: set[Parts] = set()
    for parts, name in zip(all_parts, names, strict=True):
        if parts in seen:
            raise DataError(f"{table}: {name} is in two rows; each photo must have one")
        seen.add(parts)
    return all_parts


def _parts(name: str) -> Parts:
    """Split a path into its parts without a root, a drive, and steps that mean nothing."""
    text = comparable(name)
    steps = text.replace("\\", "/").split("/")
    return tuple(step for step in steps if step not in {"", ".", ".."} and not step.endswith(":")) or (text,)


def _without_capitals(parts: Parts) -> Parts:
    return tuple(part.casefold() for part in parts)


def _without_ending(parts: Parts) -> Parts:
    *folders, file = _without_capitals(parts)
    return (*folders, file.rpartition(".")[0] if _has_ending(file) else file)


def _have_endings(names: Sequence[Parts]) -> bool:
    return any(_has_ending(parts[-1]) for parts in names)


def _has_ending(file: str) -> bool:
    stem, dot, ending = file.rpartition(".")
    return bool(stem) and dot + ending.lower() in PHOTO_SUFFIXES


def _examples(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more if names else "none"
