"""Export crops from a cache and import them into another one.

crops with their entries -> a plain folder, or tar files for WebDataset -> units of another cache.

Both forms contain spec.json and the cache entry of each crop, so another cache can add the crops as if it had cut them
itself.
"""

import hashlib
import io
import itertools
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
    """One crop to export."""

    name: str  # unique relative path with forward slashes, for people
    entry: Entry
    crop: bytes
    about: Mapping[str, Any]  # further columns of its row, such as labels; a JSON object

    def row(self, file: str) -> dict[str, Any]:
        """Return the JSON object that is written next to the crop; `file` is the crop's path in the export."""
        entry = self.entry
        cached = {"source": entry.source, "path": entry.path, "facts": dict(entry.facts), "sha256": entry.sha256}
        return {**self.about, "file": file, "cache": cached}


def export_folder(out: Path, spec: Mapping[str, Any], crops: Iterable[Outgoing]) -> int:
    """Write crops as files below `out`, with spec.json and crops.jsonl; returns the number of crops.

    Raises:
        UsageError: `out` already exists.
        OSError: the disk is full or not writable; nothing is left behind.
    """
    with _new_folder(out, spec) as folder:
        count = 0
        with (folder / ROWS).open("w", encoding="utf-8") as rows:
            for outgoing in crops:
                path = folder / outgoing.name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as file:
                    file.write(outgoing.crop)
                rows.write(json.dumps(outgoing.row(outgoing.name), sort_keys=True) + "\n")
                count += 1
    return count


def export_shards(out: Path, spec: Mapping[str, Any], crops: Iterable[Outgoing]) -> int:
    """Write crops as a WebDataset: tar files of 1,000 pairs KEY.jpg and KEY.json, and spec.json; returns their number.

    Raises:
        UsageError: `out` already exists.
        OSError: the disk is full or not writable; nothing is left behind.
    """
    count = 0
    with _new_folder(out, spec) as folder:
        for part in _parts(crops, PER_SHARD):
            with tarfile.open(folder / f"{count // PER_SHARD:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
                for outgoing in part:
                    row = json.dumps(outgoing.row(outgoing.name), sort_keys=True).encode()
                    for suffix, content in (("jpg", outgoing.crop), ("json", row)):
                        member = tarfile.TarInfo(f"{count:08d}.{suffix}")
                        member.size = len(content)
                        tar.addfile(member, io.BytesIO(content))
                    count += 1
    return count


def import_export(folder: Path, root: Path) -> int:
    """Add what `export_folder` or `export_shards` wrote to the cache at `root`; returns the number of new crops.

    Raises:
        CacheError: the export is damaged or points outside its folder, or the cache is not writable.
    """
    try:
        spec = json.loads((folder / SPEC_FILE).read_text(encoding="utf-8"))
        read = _read_shards if any(SHARD.fullmatch(file.name) for file in folder.iterdir()) else _read_folder
        store = CropStore(root, spec)
        return sum(_commit_new(store, part) for part in _parts(read(folder), UNIT_SIZE))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, tarfile.TarError) as error:
        raise CacheError(f"{folder} can't be imported: {error}. Export it again.") from error


def import_cache(other: Path, root: Path) -> int:
    """Add every intact unit of another cache; returns the number of photos whose crops are new.

    Raises:
        CacheError: one of the caches can't be read or written, or a crop of the other one is damaged.
    """
    for spec in _specs(other / "detect"):
        source_facts, target_facts = FactStore(other, spec), FactStore(root, spec)
        for entries in source_facts.units():
            if missing := set(target_facts.missing(entry.source for entry in entries)):
                target_facts.commit([entry for entry in entries if entry.source in missing])
    count = 0
    for spec in _specs(other / "crops"):
        source_crops, target_crops = CropStore(other, spec), CropStore(root, spec)
        for entries in source_crops.units():
            crops = [source_crops.read(entry.source) if entry.outcome == OK else None for entry in entries]
            count += _commit_new(target_crops, list(zip(entries, crops, strict=True)))
    return count


def _commit_new(store: CropStore, items: Sequence[tuple[Entry, bytes | None]]) -> int:
    """Commit the items that `store` lacks, each source once; returns their number."""
    missing = set(store.missing(entry.source for entry, _ in items))
    new = {entry.source: (entry, crop) for entry, crop in items if entry.source in missing}
    if new:
        store.commit(list(new.values()))
    return len(new)


def _specs(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob(f"*/{SPEC_FILE}")):
        yield json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def _new_folder(out: Path, spec: Mapping[str, Any]) -> Generator[Path]:
    """Yield a folder that is renamed to `out` when the block succeeds, and deleted when it fails."""
    if out.exists():
        raise UsageError(f"{out} already exists; name a new folder with --out")
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
                raise ValueError(f"{str(file)!r} points outside the folder")
            yield _incoming(row, inside.read_bytes())


def _read_shards(folder: Path) -> Iterator[tuple[Entry, bytes]]:
    for shard in sorted(file for file in folder.iterdir() if SHARD.fullmatch(file.name)):
        crops: dict[str, bytes] = {}
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                name = MEMBER.fullmatch(member.name)
                if not name or not member.isreg():
                    raise ValueError(f"{shard.name} has an unexpected member {member.name!r}")
                if name[2] == "json" and member.size > LARGEST_ROW:
                    raise ValueError(f"{member.name} in {shard.name} is too large")
                content = tar.extractfile(member)
                assert content is not None
                if name[2] == "jpg":
                    crops[name[1]] = content.read()
                else:
                    yield _incoming(json.loads(content.read()), crops.pop(name[1]))


def _incoming(row: Mapping[str, Any], crop: bytes) -> tuple[Entry, bytes]:
    """Check a crop against its row and return it with its cache entry."""
    cached = row["cache"]
    if not SOURCE.fullmatch(cached["source"]):
        raise ValueError(f"{cached['source']!r} is not a source id")
    if hashlib.sha256(crop).hexdigest() != cached["sha256"]:
        raise ValueError(f"the crop {row['file']} was changed: its sha256 is not the exported one")
    return Entry(cached["source"], str(cached["path"]), OK, dict(cached["facts"])), crop


T = TypeVar("T")


def _parts(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of `size`; the last one may be shorter."""
    iterator = iter(items)
    while part := list(itertools.islice(iterator, size)):
        yield part
