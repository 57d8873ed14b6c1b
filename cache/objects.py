"""Units in an object store: put whole, and read whole through the mirror.

entries + crops -> one tar file and one manifest -> entries and crops again, checked.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cache.remote import Remote
from cache.tar import tar_name, tar_of
from cache.unit import (
    MANIFEST_SUFFIX,
    Entry,
    UnitError,
    check_unit,
    manifest_of_entries,
    name_crops,
    read_crop,
    read_manifest,
)

Items = Sequence[tuple[Entry, bytes | None]]


def put_unit(remote: Remote, target: Path, manifest: bytes) -> None:
    """Commit a unit without crops; when it is there already, it stays and ours is dropped."""
    remote.create(target, manifest)
    remote.pull(target)


def put_crops(remote: Remote, target: Path, items: Items, suffix: str, retry: int) -> None:
    """Commit a unit with its crops as a tar file; when it is there already, it stays and ours is dropped."""
    entries = name_crops(items, suffix)
    tar, offsets = tar_of(
        (entry.file, crop) for entry, (_, crop) in zip(entries, items, strict=True) if crop is not None
    )
    place = target.with_name(tar_name(target.name.removesuffix(MANIFEST_SUFFIX), tar))
    begins = iter(offsets)
    placed = [replace(e, file=place.name, offset=next(begins)) if e.file else e for e in entries]
    if offsets:
        remote.create(place, tar)
    if remote.create(target, manifest_of_entries(placed, retry)) and offsets:
        remote.keep(place, tar)
    remote.pull(target)


def read_held(remote: Remote, unit: Path, entry: Entry) -> bytes:
    """A crop of a unit whose tar file is brought when it is not in the mirror.

    Raises:
        UnitError: the object store's own copy is damaged or gone.
        CacheError: the object store can't be reached.
    """
    tar = unit.parent / entry.file
    remote.hold(tar)
    try:
        return read_crop(unit, entry)
    except UnitError:
        remote.drop(tar)  # perhaps only the mirror's copy is damaged
        remote.hold(tar)
        return read_crop(unit, entry)


def check_held(remote: Remote | None, unit: Path) -> tuple[list[Entry], list[tuple[str, str]]]:
    """`check_unit`, of the object store's copy where there is one."""
    if remote is None or unit.suffix != MANIFEST_SUFFIX:
        return check_unit(unit)
    entries, damaged = _check_mirrored(remote, unit)
    if damaged:
        for path in [unit, *(unit.parent / entry.file for entry in entries if entry.offset)]:
            remote.drop(path)
        remote.pull(unit)
        entries, damaged = _check_mirrored(remote, unit)
    return entries, damaged


def _check_mirrored(remote: Remote, unit: Path) -> tuple[list[Entry], list[tuple[str, str]]]:
    try:
        for tar in {unit.parent / entry.file for entry in read_manifest(unit) if entry.offset}:
            remote.hold(tar)
    except UnitError:
        pass  # told by the check
    return check_unit(unit)
