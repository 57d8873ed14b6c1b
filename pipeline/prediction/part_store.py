"""The parts of a large prediction in OUT/parts: each is complete or absent, whatever was killed.

In: the rows of some consecutive photos as the bytes of a Parquet file, and what is known about them. Out: the same, if
they are of the same photos, bundle and settings; a part of any others is never read.

part-000000.parquet has the rows, and part-000000.json, which is written after it, says what they are of.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from cache import atomic
from cache.config import fingerprint
from cache.errors import UsageError
from cache.sources import split_part
from detect.decode import decoders
from pipeline.intake.photo import Photo
from pipeline.prediction.output_folder import bundle_digest
from pipeline.prediction.prediction import FOLD_COLUMNS
from pipeline.prediction.prediction_record import RECORD
from pipeline.settings import Settings

FOLDER = "parts"
FORMAT = 1
PART_PHOTOS = 1024  # in a part; the last one may have fewer
PART_FILE = re.compile(r"part-\d{6,}\.(parquet|json)$|\.part-\d{6,}\.(parquet|json)\.")


@dataclass(frozen=True, slots=True)
class PartFacts:
    """What is known about a part.

    Attributes:
        photos: how many there are; with a row for each face, there may be more rows.
        counts: rows per status.
        reasons: unreadable photos per reason.
        trained_on: rows of photos that the networks were trained on; None if a bundle does not know its photos.
        has_folds: whether any photo is one of the training.
        files: of `files_state` before they were read.
        is_final: whether no photo failed for a passing fault, so that it need not be tried again.
        decoders: that were there, if a photo needs another one: with others it is tried again. Else empty.
    """

    photos: int
    counts: Mapping[str, int]
    reasons: Mapping[str, int]
    trained_on: int | None
    has_folds: bool
    files: str
    is_final: bool
    decoders: str = ""


@dataclass(frozen=True, slots=True)
class PartPlan:
    """How photos are divided into parts: consecutive ones, the same in every process.

    Attributes:
        photos: all of them.
        size: of a part.
        key: the fingerprint of all that decides the rows, but for the files' content.
    """

    photos: Sequence[Photo]
    size: int
    key: str

    @property
    def count(self) -> int:
        """How many parts there are."""
        return -(-len(self.photos) // self.size)

    def part(self, number: int) -> Sequence[Photo]:
        """The photos of a part."""
        return self.photos[number * self.size : (number + 1) * self.size]


class PartStore:
    """The parts of a plan in the folder of a prediction."""

    def __init__(self, out: Path, plan: PartPlan) -> None:
        self.folder = out / FOLDER
        self._plan = plan

    def read_facts(self, number: int) -> PartFacts | None:
        """Return the facts of a part; None if it has to be predicted, for the first time or again."""
        record = _read(self._path(number))
        if record is None or (record["key"], record["number"]) != (self._plan.key, number):
            return None
        try:
            content = self._path(number).read_bytes()
            facts = PartFacts(**record["facts"])
        except (OSError, TypeError):
            return None
        is_same = record["sha256"] == hashlib.sha256(content).hexdigest()
        is_final = facts.is_final and facts.decoders in ("", decoders())
        return facts if is_same and is_final and facts.files == files_state(self._plan.part(number)) else None

    def is_begun(self, number: int) -> bool:
        """Whether a part of this plan is there, be it outdated by now."""
        record = _read(self._path(number))
        return record is not None and record["key"] == self._plan.key

    def write(self, number: int, content: bytes, facts: PartFacts) -> None:
        """Keep a part: the bytes of its Parquet file, and its facts."""
        path = self._path(number)
        path.with_suffix(".json").unlink(missing_ok=True)  # while there is none, there is no part
        atomic.write_bytes(path, content)
        record = {
            "format": FORMAT, "key": self._plan.key, "number": number, "size": self._plan.size,
            "sha256": hashlib.sha256(content).hexdigest(), "facts": asdict(facts),
        }  # fmt: skip
        atomic.write_text(path.with_suffix(".json"), json.dumps(record) + "\n")

    def tables(self, *, folds: bool) -> Iterator[pl.DataFrame]:
        """Yield the table of each part, in order; without `folds`, those have no columns on photos of the training."""
        for number in range(self._plan.count):
            table = pl.read_parquet(self._path(number))
            yield table if folds else table.drop(FOLD_COLUMNS)

    def frame(self, *, folds: bool) -> pl.LazyFrame:
        """The rows of all parts, which are read when they are needed."""
        frame = pl.scan_parquet([self._path(number) for number in range(self._plan.count)])
        return frame if folds else frame.drop(FOLD_COLUMNS)

    def has_any(self) -> bool:
        """Whether there is a part of this plan, be it outdated by now."""
        return any(record["key"] == self._plan.key for record in _records(self.folder))

    def is_unfinished(self) -> bool:
        """Whether there is one, and no predictions.json, which is written last."""
        return self.has_any() and not (self.folder.parent / RECORD).is_file()

    def delete(self, *, leftovers: bool) -> None:
        """Delete all parts, and the folder if nothing else is in it; or only the `leftovers` of killed processes."""
        kept = {self._path(number) for number in range(self._plan.count)} if leftovers else set[Path]()
        for path in [*self.folder.glob("part-*.*"), *self.folder.glob(".part-*")]:
            # Other names may be another program's
            if PART_FILE.match(path.name) and path.with_suffix(".parquet") not in kept:
                path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:06}.parquet"


def plan_parts(
    photos: Sequence[Photo],
    bundles: Sequence[Path],
    settings: Settings,
    faces: Mapping[str, Any],
    *,
    out: Path | None = None,
    size: int | None = None,
) -> PartPlan:
    """Divide photos into parts.

    Args:
        photos: in files, in order.
        bundles: what will predict them.
        settings: of the command; those of `predict` that the user has set count, and `data.max_megapixels`.
        faces: which faces get a row, as JSON knows it.
        out: the folder of the prediction.
        size: photos in a part; None for as many as in this prediction's parts in `out`, or else `PART_PHOTOS`.
    """
    from faceline import __version__

    names = hashlib.sha256()
    for photo in photos:
        names.update(f"{photo.name}\0{split_part(photo.path)[1]}\n".encode("utf-8", "surrogatepass"))
    decisive = {
        "format": FORMAT,
        "faceline": __version__,
        "photos": names.hexdigest(),
        "bundles": list(map(bundle_digest, bundles)),
        "predict": settings.predict.model_dump(mode="json", include=settings.predict.model_fields_set),
        "max_megapixels": settings.data.max_megapixels,
        "faces": dict(faces),
    }

    def key_of(size: int) -> str:
        return fingerprint({**decisive, "size": size})

    if size is None:
        # Not that of another prediction's parts: those may be gone when the next shard looks for them.
        records = [] if out is None else _records(out / FOLDER)
        matching = (int(record["size"]) for record in records if record["key"] == key_of(record["size"]))
        size = next(matching, PART_PHOTOS)
    return PartPlan(photos, size, key_of(size))


def files_state(photos: Sequence[Photo]) -> str:
    """Return the fingerprint of the files' sizes and times, which change with their content."""
    state = hashlib.sha256()
    for photo in photos:
        try:
            found = split_part(photo.path)[0].stat()
            state.update(f"{found.st_size} {found.st_mtime_ns}\n".encode())
        except OSError:
            state.update(b"missing\n")
    return state.hexdigest()


def refuse_other_parts(out: Path, plan: PartPlan | None, *, overwrite: bool) -> None:
    """Refuse a folder with parts of another plan, or delete these.

    Args:
        out: the folder of a prediction.
        plan: what may be there.
        overwrite: delete them.

    Raises:
        UsageError: there are some, and they may not be deleted.
    """
    for record in _records(out / FOLDER):
        if plan is not None and record["key"] == plan.key:
            continue
        if not overwrite:
            raise UsageError(
                f"{out / FOLDER} holds parts of a prediction of other photos, by another bundle, with other settings "
                "or by another version of faceline. Name another folder with --out, or replace them with --overwrite."
            )
        _delete(out / FOLDER / record["file"])


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield what the parts in a folder say about themselves, and the name of each file."""
    for path in sorted(folder.glob("part-*.json")):
        if (record := _read(path)) is not None:
            yield {**record, "file": path.name}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return record if {"key", "number", "size", "sha256", "facts"} <= record.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def _delete(path: Path) -> None:
    for suffix in (".json", ".parquet"):
        path.with_suffix(suffix).unlink(missing_ok=True)
