"""The photos of a data set, of which only the names and labels are known so far."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from cache.errors import DataError

if TYPE_CHECKING:  # numpy is not needed to list photos
    from detect.faces import Image
    from detect.failures import Failure
    from detect.subject import Subject

OUTSIDE = "path outside the data folder"  # the kind of defect of a path or link that is never opened


@dataclass(frozen=True, slots=True)
class Photo:
    """One file of the data set; its content has not been read yet.

    Attributes:
        path: the file.
        name: its path in predictions.csv and folds.csv: relative to the data folder, with forward slashes.
        person: who is in it; all photos of one person stay on one side of every split.
        labels: task -> class name, or number as the user wrote it; an absent task is unlabelled.
        held_out: whether the data set itself holds the photo out of training, or None if it leaves that to the folds.
        content: a photo that is in no file, as from an archive or a video: its bytes, its pixels, or why there is none.
            `path` then is only a name that no other photo has.
        face: which of several faces of a photo this is, where each of them is a Photo of its own.
    """

    path: Path
    name: str
    person: str
    labels: Mapping[str, str | float] = field(default_factory=dict[str, str | float])
    held_out: bool | None = None
    content: "bytes | Image | Failure | None" = field(default=None, compare=False, repr=False)
    face: "FaceOfPhoto | None" = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class FaceOfPhoto:
    """One of the faces that were found in a photo.

    Attributes:
        photo: the photo.
        number: of the face, from 1.
        subject: the face, in pixels of the part of the photo that is the face's content.
    """

    photo: Photo
    number: int
    subject: "Subject"


@dataclass(frozen=True, slots=True)
class Defect:
    """One thing that is wrong with a data set.

    Attributes:
        kind: what is wrong, one of `pipeline.intake.check.DEFECT_KINDS`.
        where: the file, or the table and its row.
        message: a sentence for the user, with the remedy where there is one.
        fatal: nothing can be trained or predicted until this is fixed.
    """

    kind: str
    where: str
    message: str
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class AppliedCorrections:
    """What one table of corrections did to a data set.

    Attributes:
        file: the table, or the name of a list that comes with faceline.
        sha256: of its bytes.
        rows: number of rows at the levels that the settings select.
        changed: task -> number of labels that were changed or removed.
        already: number of labels that were right before.
        absent: number of rows of a list that comes with faceline whose photos are not in the data set.
    """

    file: str
    sha256: str
    rows: int
    changed: Mapping[str, int]
    already: int
    absent: int

    def as_json(self) -> dict[str, Any]:
        """The entry in data.json and in the output of `labels apply --json`."""
        return asdict(self)

    def text(self) -> str:
        """The same in words."""
        changed = ", ".join(f"{task} {count:,}" for task, count in self.changed.items()) or "none"
        absent = f"; rows whose photos are not in this data set: {self.absent:,}" if self.absent else ""
        return f"labels corrected: {changed}; {self.already:,} were already correct{absent}"


@dataclass(frozen=True, slots=True)
class Dataset:
    """What was found in a data folder.

    Attributes:
        root: the folder, or the table's folder.
        layout: how the data is laid out.
        train: the labelled photos (all photos of a plain folder are in `evaluation`).
        evaluation: the photos to predict, in the order of the predictions.
        submission_ids: the ImageID column of eval/info.csv, in its order; empty where there is none.
        skipped: reason for ignoring a file -> number of such files.
        defects: what is wrong, the fatal ones first.
        corrections: the corrections applied to the labels, one entry per table.
        notes: sentences on how the data was read where more than one reading was thinkable.
        given: the folder or table as the user named it.
    """

    root: Path
    layout: Literal["competition", "table", "classes", "folder"]
    train: tuple[Photo, ...] = ()
    evaluation: tuple[Photo, ...] = ()
    submission_ids: tuple[str, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict[str, int])
    defects: tuple[Defect, ...] = ()
    corrections: tuple[AppliedCorrections, ...] = ()
    notes: tuple[str, ...] = ()
    given: Path | None = None

    def require_usable(self) -> Self:
        """Return the data set itself if it has no fatal defect.

        Raises:
            DataError: it has some; the message names the first few and the command that lists all.
        """
        fatal = [defect for defect in self.defects if defect.fatal]
        if fatal:
            listed = "\n".join(f"{defect.where}: {defect.message}" for defect in fatal[:5])
            more = f"\n... and {len(fatal) - 5} more" if len(fatal) > 5 else ""
            check = f"faceline check {shlex.quote(str(self.given or self.root))}"
            raise DataError(f"{listed}{more}\n{check} lists everything.")
        return self
