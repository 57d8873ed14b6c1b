"""One unit: what the cache knows of up to 256 photos, on disk whole or not at all.

entries + crops -> a folder with one file per crop and manifest.jsonl -> entries again, checked.
entries alone -> one file, a manifest by itself.

The manifest has a line per photo, failures included, and a last line with the number and the sha256 of the lines above:
a torn or edited manifest is seen. Everything is written in a staging folder and synced before one step shows it.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from cache import atomic
from cache.config import canonical_json
from cache.tar import TAR

MANIFEST = "manifest.jsonl"
MANIFEST_SUFFIX = ".jsonl"  # ends the name of a unit that is a manifest by itself
UNIT_NAME_LENGTH = 32
SOURCE = re.compile(r"[0-9a-f]{64}", re.ASCII)
FILE_NAME = re.compile(r"[0-9a-f]{16}[\w.-]*", re.ASCII)
WRITERS = 4  # threads; their syncs share the disk's waits, which makes a unit's commit about five times as fast
OK = "ok"


@dataclass(frozen=True, slots=True)
class Entry:
    """What the cache knows of one photo.

    Attributes:
        source: source id, 64 hex digits.
        path: a file that had these bytes when it was read; for people only.
        outcome: "ok", or why there is none.
        facts: what its maker wants to keep, a JSON object.
        file: the crop's name in the unit, or that of the tar file beside the manifest; empty without a crop.
        offset: in the tar file, where the crop begins; 0 for a file of its own.
        size_bytes: the crop's size.
        sha256: of the crop's bytes.
    """

    source: str
    path: str
    outcome: str
    facts: Mapping[str, Any]
    file: str = ""
    offset: int = 0
    size_bytes: int = 0
    sha256: str = ""


class UnitError(ValueError):
    """A unit on disk is not what was committed; the message says how."""


def unit_name(sources: Sequence[str], retry: int = 0) -> str:
    """The name of the unit with these members, whoever makes it; `retry` counts how often they were tried again."""
    members = [*sorted(sources), *([f"retry {retry}"] if retry else [])]
    return hashlib.sha256("\n".join(members).encode()).hexdigest()[:UNIT_NAME_LENGTH]


def write_unit(
    target: Path, root: Path, items: Sequence[tuple[Entry, bytes | None]], suffix: str, retry: int = 0
) -> None:
    """Commit a unit at `target`, somewhere below `root`; when one is there already, it stays and ours is dropped.

    Raises:
        OSError: the disk is full or can't be written; nothing is left behind and earlier units are untouched.
    """
    entries = name_crops(items, suffix)
    with staged_folder(target, root) as staging, ThreadPoolExecutor(WRITERS) as pool:
        files = [staging / entry.file for entry in entries if entry.file]
        list(pool.map(_write_synced, files, [crop for _, crop in items if crop is not None]))
        _write_synced(staging / MANIFEST, manifest_of_entries(entries, retry))


def write_alone(target: Path, root: Path, entries: Sequence[Entry], retry: int = 0) -> None:
    """Commit a unit without crops, one file; when it is there already, it stays and ours is dropped.

    Raises:
        OSError: the disk is full or can't be written; nothing is left behind and earlier units are untouched.
    """
    staged = root / "tmp" / _staging_name(target)
    make_folder(staged.parent)
    try:
        _write_synced(staged, manifest_of_entries(entries, retry))
        make_folder(target.parent)
        with suppress(FileExistsError):
            # A rename would put ours over the first one's.
            os.link(staged, target)
        atomic.sync_folder(target.parent)
    finally:
        staged.unlink(missing_ok=True)


def units_in(folder: Path) -> list[Path]:
    """The units of a folder `units`, in no order."""
    return [unit for unit in folder.glob("??/*") if unit.suffix != TAR]


def read_manifest(unit: Path) -> list[Entry]:
    """The entries of a unit.

    Raises:
        UnitError: the manifest is missing, torn, edited or not understood.
    """
    return _parsed(unit)[0]


def intact_body(unit: Path) -> bytes:
    """The lines of a unit's manifest, checked against its footer.

    Raises:
        UnitError: the manifest is missing, torn or edited.
    """
    return _checked(unit)[0]


def _checked(unit: Path) -> tuple[bytes, int]:
    """The lines of a unit's manifest and how often its photos were tried before."""
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


def _parsed(unit: Path) -> tuple[list[Entry], int]:
    body, retry = _checked(unit)
    try:
        return [_from_json(json.loads(line), alone=unit.suffix == MANIFEST_SUFFIX) for line in body.splitlines()], retry
    except (ValueError, TypeError) as error:
        raise UnitError(f"{_manifest_of(unit).name} has a line that is no entry: {error}") from error


def read_crop(unit: Path, entry: Entry) -> bytes:
    """The crop's bytes, as they were committed.

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
    """The entries of a unit, and each file of it that is not as it was committed, with what is wrong."""
    manifest = _manifest_of(unit).name
    try:
        entries, retry = _parsed(unit)
        if unit_name([entry.source for entry in entries], retry) != unit.name.removesuffix(MANIFEST_SUFFIX):
            raise UnitError(f"{manifest} is that of another unit")
    except UnitError as error:
        return [], [(manifest, str(error))]
    damaged: list[tuple[str, str]] = []
    for tar in {entry.file for entry in entries if entry.offset}:
        if wrong := _tar_damage(unit.parent / tar):
            damaged.append((tar, wrong))
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
    return (
        "" if path.name.endswith(f".{digest[:12]}.tar") else f"{path.name} was changed: its sha256 is not in its name"
    )


@contextmanager
def staged_folder(target: Path, root: Path) -> Generator[Path]:
    """A folder to fill, which becomes `target` in one step when the block ends well, else leaves nothing.

    Whoever fills it syncs its files. When `target` is there by then, the first writer has won: it stays.
    """
    staging = root / "tmp" / _staging_name(target)
    try:
        staging.mkdir(parents=True)
        yield staging
        atomic.sync_folder(staging)
        make_folder(target.parent)
        try:
            staging.rename(target)
        except OSError:
            # Errors of a rename differ between systems, and a network disk may report one for a rename that was done:
            # what counts is what stands there now.
            if not target.is_dir():
                raise
        atomic.sync_folder(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, under names that survive a power cut."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        atomic.sync_folder(folder.parent)


def _manifest_of(unit: Path) -> Path:
    return unit if unit.suffix == MANIFEST_SUFFIX else unit / MANIFEST


def _staging_name(target: Path) -> str:
    return f"{target.name}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex}"


def name_crops(items: Sequence[tuple[Entry, bytes | None]], suffix: str) -> list[Entry]:
    """The entries with the names, sizes and hashes of their crops."""
    entries: list[Entry] = []
    taken: set[str] = set()
    for entry, crop in items:
        if crop is None:
            entries.append(entry)
            continue
        file = f"{entry.source[:16]}{suffix}"
        if file in taken:
            file = f"{entry.source}{suffix}"
        taken.add(file)
        digest = hashlib.sha256(crop).hexdigest()
        entries.append(replace(entry, file=file, offset=0, size_bytes=len(crop), sha256=digest))
    return entries


def _as_json(entry: Entry) -> dict[str, Any]:
    told = {field.name: getattr(entry, field.name) for field in fields(Entry)}
    if not entry.offset:
        del told["offset"]
    return {**told, "facts": dict(entry.facts)}


def _from_json(told: dict[str, Any], *, alone: bool) -> Entry:
    entry = Entry(**told)
    if not SOURCE.fullmatch(entry.source):
        raise ValueError(f"{entry.source!r} is no source id")
    # A name, never a path: a manifest from elsewhere must not reach out of its folder.
    if entry.file and not FILE_NAME.fullmatch(entry.file):
        raise ValueError(f"{entry.file!r} is no name of a crop")
    # A file of its own stands in a unit's folder, a part of a tar file beside a manifest by itself.
    if bool(entry.file) != (entry.outcome == OK and (not alone or entry.offset > 0)) or (entry.offset and not alone):
        raise ValueError(f"outcome {entry.outcome!r} with file {entry.file!r} and offset {entry.offset}")
    return entry


def manifest_of_entries(entries: Sequence[Entry], retry: int = 0) -> bytes:
    """A whole manifest: a line per entry and the footer."""
    body = "".join(canonical_json(_as_json(entry)) + "\n" for entry in entries).encode()
    return body + _footer(body, retry)


def _footer(body: bytes, retry: int) -> bytes:
    told = {
        "rows": body.count(b"\n"),
        "sha256": hashlib.sha256(body + (f"retry {retry}".encode() if retry else b"")).hexdigest(),
        **({"retry": retry} if retry else {}),
    }
    return canonical_json(told).encode() + b"\n"


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        # Before the rename: after a power cut, ext4 may otherwise show a full-length file of zeros.
        os.fsync(file.fileno())
