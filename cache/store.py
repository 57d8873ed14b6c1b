"""What the cache keeps of one kind: every photo that was ever detected, or cropped, with these settings.

spec (a JSON object) -> its fingerprint -> a folder of units -> entries by source id, and their crops.

There is no index to lose and no lock to leave behind: the units are the truth, each is written once, and two writers
of the same unit agree because the first one wins.
"""

import json
import shlex
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cache import atomic
from cache.config import canonical_json, fingerprint
from cache.errors import CacheError
from cache.unit import (
    ALONE,
    OK,
    Entry,
    UnitError,
    check_unit,
    make_folder,
    read_crop,
    read_manifest,
    unit_name,
    write_alone,
    write_unit,
)

FORMAT = 1
FORMAT_FILE = "CACHE.json"
UNIT_SIZE = 256  # photos; a kill costs one unit, and its 256 syncs cost a fraction of a second


class Store:
    """The entries that one spec describes.

    Args:
        root: the cache's folder; nothing is written before the first commit, so a read-only cache works.
        kind: the folder in it.
        spec: everything that the entries depend on.

    Raises:
        CacheError: the cache was written by a newer faceline, or its CACHE.json or spec.json is damaged.
    """

    def __init__(self, root: Path, kind: str, spec: Mapping[str, Any]) -> None:
        check_format(root)
        self.root = root
        self.fingerprint = fingerprint(spec)
        self.folder = root / kind / self.fingerprint[:16]
        self.damaged: dict[Path, str] = {}
        self._spec = spec
        self._entries: dict[str, Entry] | None = None
        self._units: dict[str, Path] = {}  # source id -> where its entry is
        if wrong := spec_damage(self.folder, self.fingerprint):
            raise CacheError(damage_sentence(root, f"{self.folder / 'spec.json'} {wrong}"))

    def entries(self) -> Mapping[str, Entry]:
        """Every committed entry by source id. Damaged units are left out and listed in `damaged`."""
        return MappingProxyType(self._load())

    def entry(self, source: str) -> Entry | None:
        """The committed entry of one source id."""
        return self._load().get(source)

    def missing(self, sources: Iterable[str], *, retry: bool = False) -> list[str]:
        """The ids that have no entry yet, sorted, each once; with `retry` those, too, whose entry is a failure."""
        wanted = set(sources)
        return sorted(wanted - self.known(wanted, retry=retry).keys())

    def known(self, sources: Iterable[str], *, retry: bool = False) -> dict[str, Entry]:
        """The entries of those ids that have one; with `retry`, failures do not count."""
        entries = self._load()
        return {s: entries[s] for s in sources if s in entries and not (retry and entries[s].outcome != OK)}

    def _commit(self, entries: Sequence[Entry], write: Callable[[Path, int], None], suffix: str = "") -> str:
        """Write one unit; returns its name.

        Args:
            entries: at most `UNIT_SIZE`, of different photos.
            write: writes the unit at a path, given how often these photos were tried before.
            suffix: of the unit's name.

        Raises:
            CacheError: the disk is full or can't be written, or the unit that is there already is damaged.
        """
        sources = [entry.source for entry in entries]
        if not 0 < len(set(sources)) == len(sources) <= UNIT_SIZE:
            raise ValueError(f"a unit has 1 to {UNIT_SIZE} entries of different sources, not {len(sources)}")
        known, retry = self._load(), 0
        while (target := self._place(unit_name(sources, retry) + suffix)).exists():
            # Somebody was first; all of it is checked before ours is dropped.
            for _, wrong in check_unit(target)[1][:1]:
                raise CacheError(damage_sentence(self.root, f"unit {target.name}: {wrong}"))
            self._take_in(target)
            if not any(entry.outcome == OK != known[entry.source].outcome for entry in entries):
                return target.name
            retry += 1  # what failed then has succeeded now
        try:
            write_format(self.root)
            self._write_spec()
            write(target, retry)
            self._take_in(target)
        except OSError as error:
            raise CacheError(unwritable_sentence(self.root, error)) from error
        except UnitError as error:
            raise CacheError(damage_sentence(self.root, f"unit {target.name}: {error}")) from error
        return target.name

    def _place(self, name: str) -> Path:
        return self.folder / "units" / name[:2] / name

    def _load(self) -> dict[str, Entry]:
        if self._entries is None:
            self._entries = {}
            for unit in (self.folder / "units").glob("??/*"):
                try:
                    self._take_in(unit)
                except UnitError as error:
                    self.damaged[unit] = str(error)
        return self._entries

    def _take_in(self, unit: Path) -> None:
        assert self._entries is not None
        for entry in read_manifest(unit):
            # Where two units hold the same photo, everybody reads the one that succeeded, or has the smaller name.
            known = self._entries.get(entry.source)
            order = (entry.outcome != OK, unit.name)
            if known is None or order < (known.outcome != OK, self._units[entry.source].name):
                self._entries[entry.source] = entry
                self._units[entry.source] = unit

    def _write_spec(self) -> None:
        path = self.folder / "spec.json"
        if not path.is_file():
            make_folder(self.folder)
            atomic.write_text(path, json.dumps(self._spec, indent=1, sort_keys=True) + "\n")


class FactStore(Store):
    """What was found in photos, without any pixels. Its units are one file each."""

    def __init__(self, root: Path, spec: Mapping[str, Any], kind: str = "detect") -> None:
        super().__init__(root, kind, spec)

    def commit(self, entries: Sequence[Entry]) -> str:
        """Write one unit of at most `UNIT_SIZE` entries; returns its name.

        Raises:
            CacheError: the disk is full or can't be written, or the unit that is there already is damaged.
        """
        return self._commit(entries, lambda target, retry: write_alone(target, self.root, entries, retry), suffix=ALONE)


class CropStore(Store):
    """The crops that one spec describes.

    Args:
        root: the cache's folder; nothing is written before the first commit, so a read-only cache works.
        spec: everything that the crops depend on.
        suffix: of the crops' file names.

    Raises:
        CacheError: the cache was written by a newer faceline, or its CACHE.json or spec.json is damaged.
    """

    def __init__(self, root: Path, spec: Mapping[str, Any], suffix: str = ".jpg") -> None:
        super().__init__(root, "crops", spec)
        self._suffix = suffix

    def commit(self, items: Sequence[tuple[Entry, bytes | None]]) -> str:
        """Write one unit; returns its name.

        Args:
            items: at most `UNIT_SIZE` entries; with a crop where the outcome is "ok", else with None.

        Raises:
            CacheError: the disk is full or can't be written, or the unit that is there already is damaged.
        """
        if any((entry.outcome == OK) != (crop is not None) for entry, crop in items):
            raise ValueError(f"an entry has a crop where its outcome is {OK!r}, and only there")
        return self._commit(
            [entry for entry, _ in items],
            lambda target, retry: write_unit(target, self.root, items, self._suffix, retry),
        )

    def crop(self, source: str) -> Entry:
        """The entry of a source id that has a crop.

        Raises:
            CacheError: there is no crop of it.
        """
        entry = self._load().get(source)
        if entry is None or entry.outcome != OK:
            why = f": {entry.outcome}" if entry else "; make it with: faceline detect"
            raise CacheError(f"the cache at {self.root} has no crop of source {source}{why}")
        return entry

    def read(self, source: str) -> bytes:
        """The crop of a source id; its hash is checked on every read.

        Raises:
            CacheError: there is none, or it is not what was committed.
        """
        entry = self.crop(source)
        unit = self._units[source]
        try:
            return read_crop(unit, entry)
        except UnitError as error:
            raise CacheError(damage_sentence(self.root, f"unit {unit.name}: {error}")) from error


def check_format(root: Path) -> None:
    """Refuse a cache that this version does not understand.

    Raises:
        CacheError: CACHE.json is damaged or of a newer format, or the cache is no folder.
    """
    if wrong := format_damage(root):
        raise CacheError(damage_sentence(root, f"{root / FORMAT_FILE} {wrong}"))


def format_damage(root: Path) -> str:
    """What is wrong with CACHE.json, or nothing. It is missing rightly until something is written.

    Raises:
        CacheError: it tells of a newer format, or the cache is no folder.
    """
    try:
        told = json.loads((root / FORMAT_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except NotADirectoryError as error:
        raise CacheError(f"{root} is no folder; name another cache with --cache DIR") from error
    except PermissionError as error:
        raise CacheError(f"the cache at {root} can't be read: {error.strerror}") from error
    except (OSError, ValueError) as error:
        return f"can't be read: {error}"
    version = told.get("format") if isinstance(told, dict) else None
    if not isinstance(version, int) or version < 1:
        return "does not tell the format"
    if version > FORMAT:
        raise CacheError(
            f"the cache at {root} was written by a newer faceline (format {version}, this one knows {FORMAT}); "
            "upgrade faceline, or name another cache with --cache DIR"
        )
    return ""


def write_format(root: Path) -> None:
    """Write CACHE.json where there is none."""
    if not (root / FORMAT_FILE).is_file():
        make_folder(root)
        atomic.write_text(root / FORMAT_FILE, canonical_json({"format": FORMAT, "uuid": uuid.uuid4().hex}) + "\n")


def spec_damage(folder: Path, wanted: str) -> str:
    """What is wrong with the spec.json in `folder`, or nothing; `wanted` is how its fingerprint must begin."""
    try:
        spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
        told = fingerprint(spec)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return f"can't be read: {error}"
    return "" if told.startswith(wanted) else "was changed: it is not what its folder is named after"


def damage_sentence(root: Path, what: str) -> str:
    """What is damaged and how to mend it."""
    mend = f"faceline cache verify --repair --cache {shlex.quote(str(root))}"
    return f"the cache is damaged: {what}.\nMend it with: {mend}"


def unwritable_sentence(root: Path, error: OSError) -> str:
    """Why nothing can be written and what to do."""
    return (
        f"cannot write to the cache at {root}: {error.strerror or error}.\n"
        "Make room there or name another folder with --cache DIR. What was committed is kept: the same command goes on "
        "from it."
    )
