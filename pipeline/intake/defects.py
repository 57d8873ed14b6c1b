"""What turns up while a data folder is walked: junk to count, defects to tell, links to refuse."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from classify.tasks import Task
from pipeline.intake.folder_index import is_within
from pipeline.intake.label_table import OUTSIDE
from pipeline.intake.photo import Defect
from pipeline.intake.photo_files import photo_files


@dataclass
class DefectLog:
    """The data folder, and what was found in it besides photos.

    Attributes:
        data: the folder, as the user named it.
        real: the same, all links followed; what leads out of it is never opened.
        tasks: whose labels are read.
        skipped: why a file was passed over -> how many were.
        defects: in the order in which they were found.
    """

    data: Path
    real: str
    tasks: Sequence[Task]
    skipped: Counter[str] = field(default_factory=Counter[str])
    defects: list[Defect] = field(default_factory=list[Defect])

    def defect(self, kind: str, where: object, message: str, *, fatal: bool = False) -> None:
        """Note one thing that is wrong."""
        self.defects.append(Defect(kind, str(where), message, fatal))

    def is_refused(self, path: Path) -> bool:
        """Whether `path` leads out of the data folder, which is told; such a file is never opened."""
        if is_within(path, self.real):
            return False
        self.defect(OUTSIDE, path, "is a link to outside the data folder; copy what it leads to", fatal=True)
        return True

    def photos_in(self, folder: Path) -> list[Path]:
        """The photos directly in `folder`, without those that are refused."""
        files = photo_files(folder, self.skipped)
        return [file for file in files if not (file.is_symlink() and self.is_refused(file))]
