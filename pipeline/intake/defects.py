"""What turns up while a data folder is read: ignored files to count, defects to report, links to refuse."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from classify.tasks import Task
from pipeline.intake.folder_index import is_within
from pipeline.intake.photo import OUTSIDE, Defect
from pipeline.intake.photo_files import photo_files


@dataclass
class DefectLog:
    """The data folder, and what was found in it besides photos.

    Attributes:
        data: the folder, as the user named it.
        real: the same folder with all links resolved; nothing outside it is ever opened.
        tasks: the tasks whose labels are read.
        skipped: reason for ignoring a file -> number of such files.
        defects: in the order in which they were found.
    """

    data: Path
    real: str
    tasks: Sequence[Task]
    skipped: Counter[str] = field(default_factory=Counter[str])
    defects: list[Defect] = field(default_factory=list[Defect])

    def add_defect(self, kind: str, where: object, message: str, *, fatal: bool = False) -> None:
        """Record one defect."""
        self.defects.append(Defect(kind, str(where), message, fatal))

    def refuses(self, path: Path) -> bool:
        """Whether `path` leads out of the data folder; if so, it is recorded as a defect and must not be opened."""
        if is_within(path, self.real):
            return False
        self.add_defect(OUTSIDE, path, "is a link to outside the data folder; copy what it leads to", fatal=True)
        return True

    def list_photos(self, folder: Path) -> list[Path]:
        """The photos directly in `folder`, without links that lead out of the data folder."""
        files = photo_files(folder, self.skipped)
        return [file for file in files if not (file.is_symlink() and self.refuses(file))]
