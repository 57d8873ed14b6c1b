"""Write units to an object store, and read them through the local mirror.

entries + crops -> one tar file and one manifest -> the same entries and crops, verified.
"""

from collections.abc import Sequence
from contextlib import suppress
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
    """Commit a unit without crops; a unit that exists already is kept and the new one dropped."""
    remote.create(target, manifest)
    remote.pull(target)


def put_crops(remote: Remote, target: Path, items: Items, suffix: str, retry: int) -> None:
    """Commit a unit with its crops in a tar file; a unit that exists already is kept and the new one dropped."""
    entries = name_crops(items, suffix)
    tar, offsets = tar_of(
        (entry.file, crop) for entry, (_, crop) in zip(entries, items, strict=True) if crop is not None
    )
    tar_path = target.with_name(tar_name(target.name.removesuffix(MANIFEST_SUFFIX), tar))
    remaining = iter(offsets)
    located = [replace(e, file=tar_path.name, offset=next(remaining)) if e.file else e for e in entries]
    if offsets:
        remote.create(tar_path, tar)
    if remote.create(target, manifest_of_entries(located, retry)) and offsets:
        remote.mirror_tar(tar_path, tar)
    remote.pull(target)


def read_mirrored_crop(remote: Remote, unit: Path, entry: Entry) -> bytes:
    """Read a crop; its unit's tar file is downloaded unless the mirror has it.

    Raises:
        UnitError: the object store's copy is damaged or gone.
        CacheError: the object store can't be reached.
    """
    tar = unit.parent / entry.file
    remote.pull_tar(tar)
    try:
        return read_crop(unit, entry)
    except UnitError:
        remote.forget(tar)  # perhaps only the mirror's copy is damaged
        remote.pull_tar(tar)
        return read_crop(unit, entry)


def check_mirrored_unit(remote: Remote | None, unit: Path) -> tuple[list[Entry], list[tuple[str, str]]]:
    """Check a unit like `check_unit`, against the object store's copy if there is one."""
    if remote is None or unit.suffix != MANIFEST_SUFFIX:
        return check_unit(unit)
    entries, damaged = _check_mirrored(remote, unit)
    if damaged:
        for path in [unit, *(unit.parent / entry.file for entry in entries if entry.offset)]:
            remote.forget(path)
        remote.pull(unit)
        entries, damaged = _check_mirrored(remote, unit)
    return entries, damaged


def _check_mirrored(remote: Remote, unit: Path) -> tuple[list[Entry], list[tuple[str, str]]]:
    with suppress(UnitError):  # `check_unit` reports it
        for tar in {unit.parent / entry.file for entry in read_manifest(unit) if entry.offset}:
            remote.pull_tar(tar)
    return check_unit(unit)
