"""A split that the user has made: a column of a table, or folders called train, val and test.

In: the words that name the parts. Out: the part of each photo, and what is wrong with the split.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import polars as pl

from classify.tasks import comparable
from pipeline.console import counted
from pipeline.intake.photo import Defect, Photo

Part = Literal["train", "val", "test"]
WORDS: Mapping[str, Part] = {
    "train": "train", "training": "train", "trn": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "tst": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
PARTS: tuple[Part, ...] = ("train", "val", "test")
SHOWN_PEOPLE = 3


def part_of(word: str) -> Part | None:
    """The part that a word names, if it names one."""
    return WORDS.get(comparable(word).casefold())


def split_photos(parts: Iterable[tuple[Photo, Part]]) -> tuple[tuple[Photo, ...], tuple[Photo, ...]]:
    """Divide photos into those to train on, of which the part `val` is held out, and those to predict."""
    divided: defaultdict[Part, list[Photo]] = defaultdict(list)
    order: list[tuple[Photo, Part]] = list(parts)
    for photo, part in order:
        divided[part].append(photo)
    has_validation = bool(divided["val"])
    train = [replace(p, held_out=part == "val") if has_validation else p for p, part in order if part != "test"]
    return tuple(train), tuple(divided["test"])


def split_note(where: str, parts: Iterable[Part]) -> str:
    """A sentence on how the split is obeyed."""
    counts = Counter(parts)
    numbers = ", ".join(f"{counts[part]:,} {part}" for part in PARTS if counts[part])
    held_out = "the photos of val are the held-out fold" if counts["val"] else "the held-out fold is dealt from train"
    predicted = "; those of test are only predicted" if counts["test"] else ""
    return f"{where} is obeyed ({numbers} photos): {held_out}{predicted}"


def shared_people(parts: Iterable[tuple[Photo, Part]], where: str) -> list[Defect]:
    """A defect for each two parts that have people in common."""
    people: defaultdict[Part, set[str]] = defaultdict(set)
    for photo, part in parts:
        people[part].add(photo.person)
    defects: list[Defect] = []
    for first, second in itertools.combinations(PARTS, 2):
        if both := sorted(people[first] & people[second]):
            defects.append(Defect("person on both sides", where, shared_people_text(both, f"{first} and {second}")))
    return defects


def shared_people_text(people: Sequence[str], sides: str) -> str:
    """A sentence on people who are on both sides of a split."""
    shown = ", ".join(people[:SHOWN_PEOPLE]) + (" and others" if len(people) > SHOWN_PEOPLE else "")
    have = counted(len(people), "person has", "people have")
    return f"{have} photos in {sides} ({shown}); scores come out too good"


def columns_like_a_split(table: pl.DataFrame, used: Iterable[str]) -> list[str]:
    """The columns, none of those that are used, that hold nothing but names of at least two parts."""
    found: list[str] = []
    for column in table.columns:
        if column in used or table[column].n_unique() > len(WORDS):
            continue
        parts = [part_of(word) for word in table[column].drop_nulls().unique().to_list() if word.strip()]
        if None not in parts and len(set(parts)) > 1:
            found.append(column)
    return found
