"""The files of a bundle, in a folder or in one .zip, and what makes them whole.

path -> BundleFiles: bundle.json as it stands there, and the content of each file that it names, checked against the
sha256 in it. No torch is imported: to look at a bundle takes no time.

A .zip holds the files of the folder at its top, or the folder itself, as file managers pack it.
"""

import hashlib
import json
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cache import atomic
from cache.errors import BundleError

FORMAT = 3
DESCRIPTION, CARD = "bundle.json", "README.md"
MOST_DESCRIPTION = 64 << 20  # bytes; a .zip could unpack to any size
ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # of all files: the same bundle gives the same .zip


@dataclass(frozen=True, slots=True)
class BundleFiles:
    """A bundle on disk."""

    path: Path  # the folder, or the .zip
    description: Mapping[str, Any]  # bundle.json
    digest: str  # sha256 of bundle.json, which has that of every other file: it identifies the bundle
    prefix: str = ""  # of the names in a .zip

    def where(self, name: str) -> str:
        """How a message names one of the files."""
        return str(self.path / name) if self.path.is_dir() else f"{name} in {self.path}"

    def names(self) -> list[str]:
        """The names of the files there, sorted."""
        if self.path.is_dir():
            return sorted(path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if path.is_file())
        with _opened(self.path) as archive:
            names = [item.filename for item in archive.infolist() if not item.is_dir()]
        return sorted(name.removeprefix(self.prefix) for name in names if name.startswith(self.prefix))

    def has(self, name: str) -> bool:
        """Whether a file is there; a name that leads out of the bundle is that of no file."""
        if PurePosixPath(name).name != name:
            return False
        return (self.path / name).is_file() if self.path.is_dir() else name in self.names()

    def size(self, name: str) -> int:
        """The size of a file in bytes; 0 if it is missing."""
        if not self.has(name):
            return 0
        if self.path.is_dir():
            return (self.path / name).stat().st_size
        with _opened(self.path) as archive:
            return archive.getinfo(self.prefix + name).file_size

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            BundleError: it can't be read.
        """
        return _read(self.path, self.prefix + name if self.path.is_file() else name)

    def checked(self, entry: Mapping[str, Any]) -> bytes:
        """The content of a file that bundle.json names.

        Args:
            entry: with its `file` and `sha256`.

        Raises:
            BundleError: it is missing, can't be read, or is another file.
        """
        name = entry["file"]
        if not self.has(name):
            raise BundleError(f"the bundle's file {self.where(name)} is missing; copy the whole bundle, or train again")
        content = self.read(name)
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise BundleError(
                f"{self.where(name)} is not the bundle's file (its sha256 differs); copy it again, or train again"
            )
        return content

    def entries(self) -> Iterator[Mapping[str, Any]]:
        """What bundle.json says about each file: one per network, then that of the photos, if it is there."""
        yield from self.description["models"].values()
        photos = self.description.get("trained_photos")
        if photos is not None and self.has(photos["file"]):  # it may be taken out before a bundle is given away
            yield photos


def open_bundle(path: Path) -> BundleFiles:
    """Read bundle.json, and check that this version knows its format.

    Raises:
        BundleError: no bundle is there, or it is damaged, or of a newer version.
    """
    name = DESCRIPTION
    if path.is_file():
        name = _description_in_zip(path)
    elif not (path / DESCRIPTION).is_file():
        raise BundleError(
            f"{path} is no bundle: it holds no bundle.json. A finished training run has its bundle in RUN/bundle."
        )
    content = _read(path, name, MOST_DESCRIPTION)
    files = BundleFiles(path, {}, hashlib.sha256(content).hexdigest(), name.removesuffix(DESCRIPTION))
    where = files.where(DESCRIPTION)
    try:
        description = json.loads(content)
    except ValueError as error:
        raise BundleError(f"{where} can't be read ({error}); train again to remake it") from error
    if not isinstance(description, dict) or not isinstance(description.get("format"), int):
        raise BundleError(f"{where} is not the description of a bundle")
    if description["format"] > FORMAT:
        raise BundleError(f"{where} was written by a newer faceline (format {description['format']}); upgrade faceline")
    return BundleFiles(path, description, files.digest, files.prefix)


def is_bundle(path: Path) -> bool:
    """Whether there is a folder or a .zip with a bundle.json; it may be damaged."""
    if path.is_dir():
        return (path / DESCRIPTION).is_file()
    try:
        return path.is_file() and bool(_description_in_zip(path))
    except BundleError:
        return False


def write_zip(files: BundleFiles, out: Path) -> None:
    """Write the files of a bundle into one .zip, as they are.

    Raises:
        BundleError: a file is missing or was changed.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    staged = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}")
    contents = {DESCRIPTION: files.read(DESCRIPTION)} | {
        entry["file"]: files.checked(entry) for entry in files.entries()
    }
    if files.has(CARD):
        contents[CARD] = files.read(CARD)
    try:
        with zipfile.ZipFile(staged, "x", zipfile.ZIP_STORED) as archive:  # weights can't be compressed
            for name, content in sorted(contents.items()):
                archive.writestr(zipfile.ZipInfo(name, ZIP_DATE), content)
        staged.replace(out)
    finally:
        staged.unlink(missing_ok=True)
    atomic.sync_folder(out.parent)


def _description_in_zip(path: Path) -> str:
    """The name of bundle.json in a .zip: at its top, or in its only folder."""
    with _opened(path) as archive:
        names = [name for name in archive.namelist() if PurePosixPath(name).name == DESCRIPTION and name.count("/") < 2]
    if len(names) != 1:
        found = "no bundle.json" if not names else "several bundles"
        raise BundleError(f"{path} is no bundle: it holds {found}. `faceline bundle zip` packs a bundle.")
    return names[0]


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise BundleError(f"{path} is no bundle: it is neither a folder nor a .zip ({error})") from None


def _read(path: Path, name: str, most: int | None = None) -> bytes:
    """Read a file of a folder or .zip; BundleError if it can't be read or has more than `most` bytes."""
    try:
        if path.is_dir():
            return (path / name).read_bytes()
        with _opened(path) as archive:
            if most is not None and archive.getinfo(name).file_size > most:
                raise BundleError(f"{name} in {path} is not the description of a bundle: it is too large")
            return archive.read(name)
    except (OSError, KeyError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(f"{name} of the bundle {path} can't be read ({error}); copy it again") from error
