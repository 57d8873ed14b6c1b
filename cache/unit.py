"""Read and write units: the entries, and perhaps the crops, of up to 256 photos.

entries + crops -> a folder with one file per crop and manifest.jsonl -> the same entries, verified.
entries without crops -> one file, the manifest.

The manifest has a line per photo, failures included, and a footer with the count and the sha256 of these lines, which
reveals a torn or edited manifest. A unit is written and synced in a staging folder, then appears in one step.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from cache import atomic
from cache.config import canonical_json
from cache.names import crop_name, unit_name
from cache.tar import TAR

MANIFEST = "manifest.jsonl"
MANIFEST_SUFFIX = ".jsonl"  # ends the name of a unit that is only a manifest
SOURCE = re.compile(r"[0-9a-f]{64}", re.ASCII)
FILE_NAME = re.compile(r"[0-9a-f]{16}[\w.-]*", re.ASCII)
WRITERS = 4  # threads; syncing in parallel makes the commit of a unit about five times as fast
OK = "ok"


@dataclass(frozen=True, slots=True)
class Entry:
    """What the cache knows about one photo."""

    source: str  # source id, 64 hex digits
    path: str  # a file that had these bytes when it was read; for people only
    outcome: str  # "ok", or the reason for a failure
    facts: Mapping[str, Any]  # a JSON object, such as the face's box
    file: str = ""  # the crop's file name in the unit, or the tar file next to the manifest; empty without a crop
    offset: int = 0  # where the crop begins in the tar file, in bytes; 0 for a separate file
    size_bytes: int = 0  # the crop's size
    sha256: str = ""  # of the crop's bytes


class UnitError(ValueError):
    """A unit on disk differs from what was committed; the message says how."""


def write_unit(
    target: Path, root: Path, items: Sequence[tuple[Entry, bytes | None]], suffix: str, retry: int = 0
) -> None:
    """Commit a unit at `target`, a path below `root`; a unit that exists already is kept and the new one dropped.

    Raises:
        OSError: the disk is full or not writable; nothing is left behind and earlier units are untouched.
    """
    entries = name_crops(items, suffix)
    with atomic.staged_folder(target, root) as staging, ThreadPoolExecutor(WRITERS) as pool:
        files = [staging / entry.file for entry in entries if entry.file]
        list(pool.map(atomic.write_synced, files, [crop for _, crop in items if crop is not None]))
        atomic.write_synced(staging / MANIFEST, manifest_of_entries(entries, retry))


def write_single_file(target: Path, root: Path, entries: Sequence[Entry], retry: int = 0) -> None:
    """Commit a unit without crops as one file; a unit that exists already is kept and the new one dropped.

    Raises:
        OSError: the disk is full or not writable; nothing is left behind and earlier units are untouched.
    """
    staged = root / "tmp" / atomic.staging_name(target)
    atomic.make_folder(staged.parent)
    try:
        atomic.write_synced(staged, manifest_of_entries(entries, retry))
        atomic.make_folder(target.parent)
        with suppress(FileExistsError):
            # A rename would overwrite the first writer's file.
            os.link(staged, target)
        atomic.sync_folder(target.parent)
    finally:
        staged.unlink(missing_ok=True)


def units_in(folder: Path) -> list[Path]:
    """List the units below a folder `units`, in no particular order."""
    return [unit for unit in folder.glob("??/*") if unit.suffix != TAR]


def read_manifest(unit: Path) -> list[Entry]:
    """Read the entries of a unit.

    Raises:
        UnitError: the manifest is missing, torn, edited or not understood.
    """
    return read_unit(unit)[0]


def read_unit(unit: Path) -> tuple[list[Entry], int]:
    """Read the entries of a unit, and how often its photos were tried before.

    Raises:
        UnitError: the manifest is missing, torn, edited or not understood.
    """
    body, retry = read_body(unit)
    single_file = unit.suffix == MANIFEST_SUFFIX
    try:
        return [_from_json(json.loads(line), single_file=single_file) for line in body.splitlines()], retry
    except (ValueError, TypeError) as error:
        raise UnitError(f"{_manifest_of(unit).name} has an invalid line: {error}") from error


def read_body(unit: Path) -> tuple[bytes, int]:
    """Read the lines of a unit's manifest, checked against its footer, and how often its photos were tried before.

    Raises:
        UnitError: the manifest is missing, torn or edited.
    """
    manifest = _manifest_of(unit)
    try:
        content = manifest.read_bytes()
    except OSError as error:
        raise UnitError(f"{manifest.name} can't be read: {error.strerror}") from error
    end_of_body = content.rfind(b"\n", 0, -1) + 1
    body, footer = content[:end_of_body], content[end_of_body:]
    try:
        retry = json.loads(footer).get("retry", 0)
        intact = footer == _footer(body, retry)
    except (ValueError, TypeError, AttributeError):
        retry, intact = 0, False
    if not intact:
        raise UnitError(f"{manifest.name} was changed or cut off")
    return body, retry


def read_crop(unit: Path, entry: Entry) -> bytes:
    """Return the bytes of a crop after checking that they are those committed.

    Raises:
        UnitError: the file is missing or differs.
    """
    try:
        if entry.offset:
            with (unit.parent / entry.file).open("rb") as tar:
                tar.seek(entry.offset)
                content = tar.read(entry.size_bytes)
        else:
            content = (unit / entry.file).read_bytes()
    except OSError as error:
        raise UnitError(f"{entry.file} can't be read: {error.strerror}") from error
    if len(content) != entry.size_bytes:
        raise UnitError(f"{entry.file} has {len(content)} bytes and was committed with {entry.size_bytes}")
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise UnitError(f"{entry.file} was changed: its sha256 is not the one in its manifest")
    return content


def check_unit(unit: Path) -> tuple[list[Entry], list[tuple[str, str]]]:
    """Return the entries of a unit, and each of its damaged files with what is wrong."""
    manifest = _manifest_of(unit).name
    try:
        entries, retry = read_unit(unit)
        if unit_name([entry.source for entry in entries], retry) != unit.name.removesuffix(MANIFEST_SUFFIX):
            raise UnitError(f"{manifest} belongs to another unit")
    except UnitError as error:
        return [], [(manifest, str(error))]
    tars = {entry.file for entry in entries if entry.offset}
    damaged = [(tar, wrong) for tar in tars if (wrong := _tar_damage(unit.parent / tar))]
    for entry in entries:
        try:
            if entry.file:
                read_crop(unit, entry)
        except UnitError as error:
            damaged.append((entry.file, str(error)))
    return entries, damaged


def _tar_damage(path: Path) -> str:
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return f"{path.name} can't be read: {error.strerror}"
    if path.name.endswith(f".{digest[:12]}.tar"):
        return ""
    return f"{path.name} was changed: its sha256 is not in its name"


def _manifest_of(unit: Path) -> Path:
    return unit if unit.suffix == MANIFEST_SUFFIX else unit / MANIFEST


def name_crops(items: Sequence[tuple[Entry, bytes | None]], suffix: str) -> list[Entry]:
    """Return the entries with the names, sizes and hashes of their crops filled in."""
    entries: list[Entry] = []
    taken: set[str] = set()
    for entry, crop in items:
        if crop is not None:
            file = crop_name(entry.source, suffix, taken)
            taken.add(file)
            digest = hashlib.sha256(crop).hexdigest()
            entry = replace(entry, file=file, offset=0, size_bytes=len(crop), sha256=digest)  # noqa: PLW2901
        entries.append(entry)
    return entries


def _as_json(entry: Entry) -> dict[str, Any]:
    line = {field.name: getattr(entry, field.name) for field in fields(Entry)}
    if not entry.offset:
        del line["offset"]
    return {**line, "facts": dict(entry.facts)}


def _from_json(line: dict[str, Any], *, single_file: bool) -> Entry:
    """Validate a manifest line, of a unit that is a folder or, with `single_file`, only a manifest."""
    entry = Entry(**line)
    if not SOURCE.fullmatch(entry.source):
        raise ValueError(f"{entry.source!r} is not a source id")
    # A name, never a path: a manifest from elsewhere must not point outside its folder.
    if entry.file and not FILE_NAME.fullmatch(entry.file):
        raise ValueError(f"{entry.file!r} is not the name of a crop")
    # A crop is a file in the unit's folder, or a part of the tar file next to a single-file unit.
    has_crop = entry.outcome == OK and (not single_file or entry.offset > 0)
    if bool(entry.file) != has_crop or (entry.offset and not single_file):
        raise ValueError(f"outcome {entry.outcome!r} with file {entry.file!r} and offset {entry.offset}")
    return entry


def manifest_of_entries(entries: Sequence[Entry], retry: int = 0) -> bytes:
    """Return a manifest's content: a line per entry and the footer."""
    body = "".join(canonical_json(_as_json(entry)) + "\n" for entry in entries).encode()
    return body + _footer(body, retry)


def _footer(body: bytes, retry: int) -> bytes:
    footer = {
        "rows": body.count(b"\n"),
        "sha256": hashlib.sha256(body + (f"retry {retry}".encode() if retry else b"")).hexdigest(),
        **({"retry": retry} if retry else {}),
    }
    return canonical_json(footer).encode() + b"\n"
