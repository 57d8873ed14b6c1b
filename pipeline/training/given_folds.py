"""Folds that are given: in a table that `split.folds_file` names, or by the data set's own validation part.

In: photos in the order of the samples. Out: the fold of each, or None if nobody gives any.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache.errors import DataError, UsageError
from pipeline.context import RunContext
from pipeline.evaluation.photo_names import match_photos
from pipeline.intake.given_split import shared_people_text
from pipeline.intake.photo import Photo
from pipeline.intake.table_file import missing_columns, read_table, row_location
from pipeline.settings import SplitConfig

SHOWN = 3


def given_folds(photos: Sequence[Photo], groups: Sequence[int], context: RunContext) -> NDArray[np.intp] | None:
    """Return the fold of each photo that the user has given, and warn of people who are in several.

    Args:
        photos: those that are trained on or held out.
        groups: the group of each photo: the people who share a photo.
        context: its settings name the file, and its console shows the warning.

    Raises:
        UsageError: the settings hold out a fold that there is not, or all folds of a split into two parts.
        DataError: the file can't be read, a photo has no fold in it, or a fold is no whole number.
    """
    split = context.settings.split
    given = any(photo.held_out is not None for photo in photos)
    if split.folds_file is not None:
        if given:
            context.console.line(f"the folds of {split.folds_file} replace the data set's own validation part")
        folds = _read_folds(split.folds_file, photos)
        _check_folds(split, folds, split.folds_file)
        sides = "several folds"
    elif given:
        if split.held_out == "all":
            raise UsageError(
                "the data set says which photos are held out, so there are no other folds to hold out: use "
                "--set split.held_out=0, or deal new folds from a table without its split column"
            )
        held_out = split.held_out or 0
        folds = np.array([held_out if photo.held_out else held_out + 1 for photo in photos], dtype=np.intp)
        sides = "the held-out part and the rest"
    else:
        return None
    if split.held_out is not None and (people := _people_on_both_sides(photos, groups, folds)):
        context.console.warn(shared_people_text(people, sides))
    return folds


def _read_folds(path: Path, photos: Sequence[Photo]) -> NDArray[np.intp]:
    """Read a table with the columns path and fold; other columns are left alone."""
    table = read_table(path)
    missing = [(what, what) for what in ("path", "fold") if what not in table.columns]
    if missing:
        raise missing_columns(table, path, missing)
    table = table.with_row_index("row").filter(table["path"].fill_null("") != "")
    folds: list[int] = []
    for row, cell in table.select("row", "fold").rows():
        try:
            folds.append(int(float(cell or "")))
            if folds[-1] < 0 or folds[-1] != float(cell):
                raise ValueError
        except (ValueError, OverflowError):
            raise DataError(f"{row_location(path, row)}: the fold is {cell!r}, not a whole number from 0 on") from None
    rows = match_photos(table["path"].to_list(), [photo.name for photo in photos], str(path), "the data set")
    absent = [photo.name for photo, row in zip(photos, rows, strict=True) if row is None]
    if absent:
        more = f" and {len(absent) - SHOWN:,} more" if len(absent) > SHOWN else ""
        raise DataError(f"{path} names no fold for {', '.join(absent[:SHOWN])}{more}; add a row for each photo")
    return np.array([folds[row] for row in rows if row is not None], dtype=np.intp)


def _check_folds(split: SplitConfig, folds: NDArray[np.intp], path: Path) -> None:
    """Refuse settings that hold out a fold without photos."""
    found = sorted(set(folds.tolist()))
    named = range(split.folds) if split.held_out == "all" else [split.held_out]
    if split.held_out is not None and not set(named) <= set(found):
        remedy = f"split.folds={len(found)}" if found == [*range(len(found))] else f"split.held_out={found[0]}"
        raise UsageError(
            f"split.held_out is {split.held_out}, but the folds in {path} are {', '.join(map(str, found))}; "
            f"use --set {remedy}"
        )
    if split.held_out == "all" and len(found) > split.folds:
        raise UsageError(f"{path} has {len(found)} folds; to hold out all of them, use --set split.folds={len(found)}")


def _people_on_both_sides(photos: Sequence[Photo], groups: Iterable[int], folds: NDArray[np.intp]) -> list[str]:
    """The people whose photos, or copies of them, are in more than one fold."""
    folds_of: dict[int, set[int]] = {}
    people: dict[int, str] = {}
    for photo, group, fold in zip(photos, groups, folds.tolist(), strict=True):
        folds_of.setdefault(group, set()).add(fold)
        people.setdefault(group, photo.person)
    return sorted(person for group, person in people.items() if len(folds_of[group]) > 1)
