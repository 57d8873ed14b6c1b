"""One unit: up to 256 photos' crops, on disk whole or not at all.

entries + crops -> a folder with one file per crop and manifest.jsonl -> entries again, checked.

The manifest has a line per photo, failures included, and a last line with the number and the sha256 of the lines above:
a torn or edited manifest is seen. Everything is written in a staging folder and synced before one rename shows it.
"""

import errno
import hashlib
import json
import os
import shutil
import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cache import atomic
from cache.config import canonical_json
from cache.errors import CacheError

MANIFEST = "manifest.jsonl"
UNIT_NAME_LENGTH = 32
OK = "ok"


@dataclass(frozen=True, slots=True)
class Entry:
    """What the cache knows of one photo.

    Attributes:
        source: source id, 64 hex digits.
        path: a file that had these bytes when it was read; for people only.
        outcome: "ok", or why there is no crop.
        facts: what the maker of the crop wants to keep, a JSON object.
        file: the crop's name in the unit; empty without a crop.
        size_bytes: the crop's size.
        sha256: of the crop's bytes.
    """

    source: str
    path: str
    outcome: str
    facts: Mapping[str, Any]
    file: str = ""
    size_bytes: int = 0
    sha256: str = ""


class UnitError(ValueError):
    """A unit on disk is not what was committed; the message says how."""


def unit_name(sources: Sequence[str]) -> str:
    """The name of the unit with these members, whoever makes it."""
    return hashlib.sha256("\n".join(sorted(sources)).encode()).hexdigest()[:UNIT_NAME_LENGTH]


def write_unit(target: Path, staging_root: Path, items: Sequence[tuple[Entry, bytes | None]], suffix: str) -> None:
    """Commit a unit at `target`; when one is there already, it stays and ours is dropped.

    Raises:
        CacheError: the disk is full or can't be written; nothing is left behind and earlier units are untouched.
    """
    staging = staging_root / f"{target.name}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex}"
    try:
        staging.mkdir(parents=True)
        lines: list[str] = []
        for entry, crop in items:
            written = entry if crop is None else _write_crop(staging, entry, crop, suffix)
            lines.append(canonical_json(asdict(written)))
        _write_synced(staging / MANIFEST, _with_footer(lines))
        atomic.sync_folder(staging)
        _publish(staging, target)
    except OSError as error:
        raise CacheError(
            f"cannot write to the cache at {target.parents[4]}: {error.strerror}.\n"
            "Make room there or name another folder with --cache DIR; what was committed is kept, and the same "
            "command goes on from it."
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def read_manifest(unit: Path) -> list[Entry]:
    """The entries of a unit.

    Raises:
        UnitError: the manifest is missing, torn, edited or not understood.
    """
    try:
        content = (unit / MANIFEST).read_bytes()
    except OSError as error:
        raise UnitError(f"{MANIFEST} can't be read: {error.strerror}") from None
    body, _, footer = content.rstrip(b"\n").rpartition(b"\n")
    try:
        closing = json.loads(footer)
        if closing != {"rows": body.count(b"\n") + 1, "sha256": hashlib.sha256(body + b"\n").hexdigest()}:
            raise UnitError(f"{MANIFEST} was changed or cut off")
        return [Entry(**json.loads(line)) for line in body.split(b"\n")]
    except (ValueError, TypeError) as error:
        raise UnitError(f"{MANIFEST} was changed or cut off") from error


def read_crop(unit: Path, entry: Entry) -> bytes:
    """The crop's bytes, as they were committed.

    Raises:
        UnitError: the file is missing or differs.
    """
    try:
        content = (unit / entry.file).read_bytes()
    except OSError as error:
        raise UnitError(f"{entry.file} can't be read: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise UnitError(f"{entry.file} was changed: its sha256 is not the one in {MANIFEST}")
    return content


def _with_footer(lines: Sequence[str]) -> bytes:
    body = "".join(line + "\n" for line in lines).encode()
    footer = {"rows": len(lines), "sha256": hashlib.sha256(body).hexdigest()}
    return body + canonical_json(footer).encode() + b"\n"


def _write_crop(folder: Path, entry: Entry, crop: bytes, suffix: str) -> Entry:
    file = f"{entry.source[:16]}{suffix}"
    if (folder / file).exists():  # two sources that share 16 digits
        file = f"{entry.source}{suffix}"
    _write_synced(folder / file, crop)
    digest = hashlib.sha256(crop).hexdigest()
    return Entry(entry.source, entry.path, entry.outcome, entry.facts, file, len(crop), digest)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        # Before the rename: after a power cut, ext4 may otherwise show a full-length file of zeros.
        os.fsync(file.fileno())


def _publish(staging: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        staging.rename(target)
    except OSError as error:
        # A folder that holds files can't be replaced, so the first writer has won; any other error is real.
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
    atomic.sync_folder(target.parent)
