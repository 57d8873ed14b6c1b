"""The options of `faceline predict` as one value. Nothing heavy is imported: the command line reads the names here."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Faces(StrEnum):
    """The values of --faces."""

    SUBJECT = "subject"
    ALL = "all"
    GIVEN = "given"


class Format(StrEnum):
    """The values of --format."""

    CSV = "csv"
    PARQUET = "parquet"
    JSONL = "jsonl"
    PARTS = "parts"


class Engine(StrEnum):
    """The values of --engine."""

    LOCAL = "local"
    RAY = "ray"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """The options of the command, under their names there."""

    photos: Sequence[str]
    bundle: Sequence[Path]
    out: Path | None
    overwrite: bool
    faces: Faces | None
    min_face: float | None
    min_score: float | None
    formats: Sequence[Format]
    draw: Path | None
    sort: Path | None
    sort_by: Sequence[str]
    copy: bool
    keep_crops: bool
    shard: str | None
    engine: Engine
    part_size: int | None

    @property
    def every_face(self) -> bool:
        """Whether the rows are faces, several of a photo."""
        return self.faces is Faces.ALL

    @property
    def divided_by(self) -> str:
        """The option, as it is written, for which the photos are predicted in parts; empty if none says so."""
        dividing = {
            "--shard": self.shard, "--engine ray": self.engine is Engine.RAY, "--part-size": self.part_size,
            "--format parts": Format.PARTS in self.formats,
        }  # fmt: skip
        return next((option for option, value in dividing.items() if value), "")
