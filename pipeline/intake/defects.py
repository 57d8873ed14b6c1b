"""What turns up while a data folder is read: files to count, defects to report, links to refuse."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from classify.tasks import Task
from pipeline.intake.folder_index import is_within, printable_name
from pipeline.intake.own_files import is_own_picture, own_folder
from pipeline.intake.photo import OUTSIDE, Defect
from pipeline.intake.photo_files import LINKED_FOLDERS, Listing, list_folder
from pipeline.intake.unknown_labels import UnknownLabels

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
        unknown_labels: those that become a defect when everything has been read.
        defects: in the order in which they were found.
    """

    data: Path
    real: str
    tasks: Sequence[Task]
    follow_links: bool = False
    skipped: Counter[str] = field(default_factory=Counter[str])
    unknown_labels: UnknownLabels = field(default_factory=UnknownLabels)
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
        return self._photos(list_folder(folder))

    def walk(self, folder: Path, seen: frozenset[str] = frozenset()) -> Iterator[Path]:
        """Yield the photos in `folder` at any depth, without faceline's own folders and pictures.

        A link to a folder is only followed out of the data folder, where that is allowed: what is inside is found
        without it. `seen` are the folders, links resolved, that led here: a link can lead in a circle.
        """
        listing = list_folder(folder)
        if folder != self.data and self._is_own(folder, listing.names):
            return
        for file in self._photos(listing):
            if folder == self.data and is_own_picture(file):
                self.skipped[f"faceline's own pictures ({printable_name(file.name)})"] += 1
            else:
                yield file
        for subfolder in self._folders(listing):
            real = str(subfolder.resolve()) if self.follow_links else ""
            if real and real in seen:
                self.skipped["links to folders that lead in a circle"] += 1
            else:
                yield from self.walk(subfolder, seen | {real})

    def subfolders(self, folder: Path, *, refuse_links: bool = False) -> list[Path]:
        """The folders directly in `folder` that can hold photos of the data set, in order.

        A link out of the data folder that may not be followed is passed over, or with `refuse_links` a fatal defect.
        """
        folders = self._folders(list_folder(folder), refuse_links=refuse_links)
        return [subfolder for subfolder in folders if not self._is_own(subfolder, None)]

    def _photos(self, listing: Listing) -> list[Path]:
        self.skipped.update(listing.other_files)
        return [file for file in listing.photos if not (file in listing.links and self.refuses(file))]

    def _folders(self, listing: Listing, *, refuse_links: bool = False) -> list[Path]:
        self.skipped.update(listing.other_folders)
        folders = listing.folders
        for link in listing.linked_folders:
            if self.follow_links and not is_within(link, self.real):
                folders = sorted([*folders, link])
            elif not (refuse_links and self.refuses(link)):
                self.skipped[LINKED_FOLDERS] += 1
        return folders

    def _is_own(self, folder: Path, names: set[str] | None) -> bool:
        """Whether faceline wrote the folder, which is counted then; `names` are those in it, if they are known."""
        what = own_folder(folder, names)
        if what:
            self.skipped[f"faceline's own folders ({printable_name(folder.name)}: {what})"] += 1
        return what is not None
