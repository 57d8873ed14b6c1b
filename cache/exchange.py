"""Crops that leave the cache, and those that come back.

crops with what is known of them -> a plain folder, or tar files for WebDataset -> units of another cache.

Both hold spec.json, what the crops depend on, and for each crop what its unit said of it, so that another cache can
take them in as if they had been cut there.
"""

import hashlib
import io
import json
import re
import shutil
import tarfile
import uuid
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from cache import atomic
from cache.errors import CacheError, UsageError
from cache.layout import SPEC_FILE
from cache.store import UNIT_SIZE, CropStore, FactStore
from cache.unit import OK, SOURCE, Entry

ROWS = "crops.jsonl"
SHARD = re.compile(r"\d{6}\.tar", re.ASCII)
MEMBER = re.compile(r"(\d{8})\.(jpg|json)", re.ASCII)
PER_SHARD = 1000  # crops
LARGEST_ROW = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One crop on its way out.

    Attributes:
        name: relative path with forward slashes, for people; unique.
        entry: what the cache knows of it.
        crop: its bytes.
        about: what its owner knows of it, labels for example; a JSON object.
    """

    name: str
    entry: Entry
    crop: bytes
    about: Mapping[str, Any]

    def row(self, file: str) -> dict[str, Any]:
        """What is written beside the crop."""
        entry = self.entry
        told = {"source": entry.source, "path": entry.path, "facts": dict(entry.facts), "sha256": entry.sha256}
        return {**self.about, "file": file, "cache": told}


def export_folder(out: Path, spec: Mapping[str, Any], crops: Iterable[Outgoing]) -> int:
    """Write crops as files below `out`, with spec.json and crops.jsonl; returns how many.

    Raises:
        UsageError: there is something at `out`.
        OSError: the disk is full or can't be written; nothing is left behind.
    """
    with _new_folder(out, spec) as folder:
        count = 0
        with (folder / ROWS).open("w", encoding="utf-8") as rows:
            for one in crops:
                file = folder / one.name
                file.parent.mkdir(parents=True, exist_ok=True)
                with file.open("xb") as content:
                    content.write(one.crop)
                rows.write(json.dumps(one.row(one.name), sort_keys=True) + "\n")
                count += 1
    return count


def export_shards(out: Path, spec: Mapping[str, Any], crops: Iterable[Outgoing]) -> int:
    """Write crops as WebDataset: tar files of 1,000 pairs KEY.jpg and KEY.json, and spec.json; returns how many.

    Raises:
        UsageError: there is something at `out`.
        OSError: the disk is full or can't be written; nothing is left behind.
    """
    count = 0
    with _new_folder(out, spec) as folder:
        for part in _parts(crops, PER_SHARD):
            with tarfile.open(folder / f"{count // PER_SHARD:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
                for one in part:
                    row = json.dumps(one.row(one.name), sort_keys=True).encode()
                    for suffix, content in (("jpg", one.crop), ("json", row)):
                        member = tarfile.TarInfo(f"{count:08d}.{suffix}")
                        member.size = len(content)
                        tar.addfile(member, io.BytesIO(content))
                    count += 1
    return count


def import_export(folder: Path, root: Path) -> int:
    """Take in what `export_folder` or `export_shards` wrote; returns how many crops were new.

    Raises:
        CacheError: the export is damaged or reaches out of its folder, or the cache can't be written.
    """
    try:
        spec = json.loads((folder / SPEC_FILE).read_text(encoding="utf-8"))
        read = _read_shards if any(SHARD.fullmatch(file.name) for file in folder.iterdir()) else _read_folder
        store = CropStore(root, spec)
        return sum(_commit_new(store, part) for part in _parts(read(folder), UNIT_SIZE))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, tarfile.TarError) as error:
        raise CacheError(f"{folder} can't be imported: {error}. Export it again.") from error


def import_cache(other: Path, root: Path) -> int:
    """Take in every unit of another cache that is whole; returns how many photos were new.

    Raises:
        CacheError: one of the caches can't be read or written, or a crop of the other one is damaged.
    """
    new = 0
    for spec in _specs(other / "detect"):
        facts, mine = FactStore(other, spec), FactStore(root, spec)
        for entries in facts.units():
            if missing := set(mine.missing(entry.source for entry in entries)):
                mine.commit([entry for entry in entries if entry.source in missing])
    for spec in _specs(other / "crops"):
        crops, store = CropStore(other, spec), CropStore(root, spec)
        for entries in crops.units():
            new += _commit_new(store, [(e, crops.read(e.source) if e.outcome == OK else None) for e in entries])
    return new


def _commit_new(store: CropStore, items: Sequence[tuple[Entry, bytes | None]]) -> int:
    missing = set(store.missing(entry.source for entry, _ in items))
    new = {entry.source: (entry, crop) for entry, crop in items if entry.source in missing}
    if new:
        store.commit(list(new.values()))
    return len(new)


def _specs(kind: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(kind.glob(f"*/{SPEC_FILE}")):
        yield json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def _new_folder(out: Path, spec: Mapping[str, Any]) -> Generator[Path]:
    """A folder that becomes `out` when the block ends well, else leaves nothing."""
    if out.exists():
        raise UsageError(f"there is something at {out} already; name a new folder with --out")
    staging = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}")
    staging.mkdir(parents=True)
    try:
        yield staging
        atomic.write_text(staging / SPEC_FILE, json.dumps(spec, indent=1, sort_keys=True) + "\n")
        staging.rename(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _read_folder(folder: Path) -> Iterator[tuple[Entry, bytes]]:
    with (folder / ROWS).open(encoding="utf-8") as rows:
        for line in rows:
            row = json.loads(line)
            file = PurePosixPath(row["file"])
            inside = (folder / file).resolve()
            if file.is_absolute() or not inside.is_relative_to(folder.resolve()):
                raise ValueError(f"{str(file)!r} reaches out of the folder")
            yield _incoming(row, inside.read_bytes())


def _read_shards(folder: Path) -> Iterator[tuple[Entry, bytes]]:
    for shard in sorted(file for file in folder.iterdir() if SHARD.fullmatch(file.name)):
        crops: dict[str, bytes] = {}
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                name = MEMBER.fullmatch(member.name)
                if not name or not member.isreg():
                    raise ValueError(f"{shard.name} has a member {member.name!r} that is no crop")
                if name[2] == "json" and member.size > LARGEST_ROW:
                    raise ValueError(f"{member.name} in {shard.name} is too large")
                content = tar.extractfile(member)
                assert content is not None
                if name[2] == "jpg":
                    crops[name[1]] = content.read()
                else:
                    yield _incoming(json.loads(content.read()), crops.pop(name[1]))


def _incoming(row: Mapping[str, Any], crop: bytes) -> tuple[Entry, bytes]:
    told = row["cache"]
    if not SOURCE.fullmatch(told["source"]):
        raise ValueError(f"{told['source']!r} is no source id")
    if hashlib.sha256(crop).hexdigest() != told["sha256"]:
        raise ValueError(f"the crop {row['file']} was changed: its sha256 is not the one that it left with")
    return Entry(told["source"], str(told["path"]), OK, dict(told["facts"])), crop


T = TypeVar("T")


def _parts(items: Iterable[T], size: int) -> Iterator[list[T]]:
    part: list[T] = []
    for item in items:
        part.append(item)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
