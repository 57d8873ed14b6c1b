"""The photos of a data set before anything but their names is known."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from cache.errors import DataError


@dataclass(frozen=True, slots=True)
class Photo:
    """One file of the data set. Nothing about it has been read yet except its name.

    Attributes:
        path: the file.
        name: the path as predictions.csv and folds.csv give it: relative to the data folder, with forward slashes.
        person: who is in it; all photos of one person stay on one side of every split.
        labels: task -> class name or number as the user wrote it; an absent task is unlabelled.
    """

    path: Path
    name: str
    person: str
    labels: Mapping[str, str | float] = field(default_factory=dict[str, str | float])


@dataclass(frozen=True, slots=True)
class Defect:
    """One thing that is wrong with a data set.

    Attributes:
        kind: what is wrong, one of `pipeline.intake.check.KINDS`.
        where: the file, or the table and its row.
        message: a sentence for the user, with what to do when there is something to do.
        fatal: nothing can be trained or predicted until this is mended.
    """

    kind: str
    where: str
    message: str
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class AppliedCorrections:
    """What one table of corrections did to a data set.

    Attributes:
        file: the table, or the name of the list that comes with faceline.
        sha256: of its bytes.
        rows: rows of the wanted levels.
        changed: task -> labels that are other than before; a label that was taken away counts.
        already: labels that were so before.
        absent: rows of a list that comes with faceline whose photos are not here.
    """

    file: str
    sha256: str
    rows: int
    changed: Mapping[str, int]
    already: int
    absent: int

    def as_json(self) -> dict[str, Any]:
        """What data.json and `labels apply --json` say."""
        return asdict(self)

    def text(self) -> str:
        """The same in words."""
        changed = ", ".join(f"{task} {count:,}" for task, count in self.changed.items()) or "none"
        absent = f"; the photos of {self.absent:,} rows are not in this data set" if self.absent else ""
        return f"labels corrected: {changed}; {self.already:,} were so already{absent}"


@dataclass(frozen=True, slots=True)
class Dataset:
    """What was found in a data folder.

    Attributes:
        root: the folder, or the table's folder.
        kind: how it is laid out.
        train: the labelled photos (all photos of a plain folder are in `evaluation`).
        evaluation: the photos to predict, in the order in which predictions are wanted.
        submission_ids: the ImageID column of eval/info.csv, in its order; empty where there is none.
        skipped: why a file was passed over -> how many were.
        defects: what is wrong, the fatal ones first.
        corrections: what was corrected in the labels after they were read, one entry a table.
    """

    root: Path
    kind: Literal["competition", "table", "folder"]
    train: tuple[Photo, ...] = ()
    evaluation: tuple[Photo, ...] = ()
    submission_ids: tuple[str, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict[str, int])
    defects: tuple[Defect, ...] = ()
    corrections: tuple[AppliedCorrections, ...] = ()

    def require_usable(self) -> Self:
        """The data set itself, when nothing fatal is wrong with it.

        Raises:
            DataError: something is; the message names the first few defects and the command that lists all.
        """
        fatal = [defect for defect in self.defects if defect.fatal]
        if fatal:
            listed = "\n".join(f"{defect.where}: {defect.message}" for defect in fatal[:5])
            more = f"\n... and {len(fatal) - 5} more" if len(fatal) > 5 else ""
            raise DataError(f"{listed}{more}\nfaceline check {self.root} lists everything.")
        return self
