"""What turns up while a data folder is read: files to count, defects to report, links to refuse."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from classify.tasks import Task
from pipeline.intake.folder_index import is_within, printable_name
from pipeline.intake.own_files import is_own_picture, own_folder
from pipeline.intake.photo import OUTSIDE, Defect
from pipeline.intake.photo_files import LINKED_FOLDERS, linked_folders, photo_files, subfolders

ALLOW_LINKS = "allow such links with --set data.follow_links=true"


@dataclass
class DefectLog:
    """The data folder, and what was found in it besides photos.

    Attributes:
        data: the folder, as the user named it.
        real: the same folder with all links resolved; nothing outside it is ever opened.
        tasks: the tasks whose labels are read.
        follow_links: links that lead out of the folder are followed, too.
        skipped: reason for ignoring a file -> number of such files.
        defects: in the order in which they were found.
    """

    data: Path
    real: str
    tasks: Sequence[Task]
    follow_links: bool = False
    skipped: Counter[str] = field(default_factory=Counter[str])
    defects: list[Defect] = field(default_factory=list[Defect])

    def add_defect(self, kind: str, where: object, message: str, *, fatal: bool = False) -> None:
        """Record one defect."""
        self.defects.append(Defect(kind, str(where), message, fatal))

    def refuses(self, path: Path) -> bool:
        """Whether `path` leads out of the data folder; if so, it is recorded as a defect and must not be opened."""
        if self.follow_links or is_within(path, self.real):
            return False
        message = f"is a link to outside the data folder; copy what it leads to, or {ALLOW_LINKS}"
        self.add_defect(OUTSIDE, path, message, fatal=True)
        return True

    def list_photos(self, folder: Path) -> list[Path]:
        """The photos directly in `folder`, without links that lead out of the data folder."""
        files = photo_files(folder, self.skipped)
        return [file for file in files if not (file.is_symlink() and self.refuses(file))]

    def walk(self, folder: Path, seen: frozenset[str] = frozenset()) -> Iterator[Path]:
        """Yield the photos in `folder` at any depth, without faceline's own folders and pictures.

        A link to a folder is only followed out of the data folder, where that is allowed: what is inside is found
        without it. `seen` are the folders, links resolved, that led here: a link can lead in a circle.
        """
        for file in self.list_photos(folder):
            if folder == self.data and is_own_picture(file):
                self.skipped[f"faceline's own pictures ({printable_name(file.name)})"] += 1
            else:
                yield file
        for subfolder in self.subfolders(folder):
            real = str(subfolder.resolve()) if self.follow_links else ""
            if real and real in seen:
                self.skipped["links to folders that lead in a circle"] += 1
            else:
                yield from self.walk(subfolder, seen | {real})

    def subfolders(self, folder: Path, *, refuse_links: bool = False) -> list[Path]:
        """The folders directly in `folder` that can hold photos of the data set, in order.

        A link out of the data folder that may not be followed is passed over, or with `refuse_links` a fatal defect.
        """
        folders: list[Path] = []
        for subfolder in subfolders(folder, self.skipped):
            if what := own_folder(subfolder):
                self.skipped[f"faceline's own folders ({printable_name(subfolder.name)}: {what})"] += 1
            else:
                folders.append(subfolder)
        for link in linked_folders(folder):
            if self.follow_links and not is_within(link, self.real):
                folders.append(link)
            elif not (refuse_links and self.refuses(link)):
                self.skipped[LINKED_FOLDERS] += 1
        return sorted(folders)
