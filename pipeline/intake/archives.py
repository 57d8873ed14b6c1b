"""The photos in zip and tar archives, read one after the other; nothing is unpacked.

In: an archive. Out: a Photo for each of its members that is one by its name, with its bytes. A member that can't be
read is a Photo that says why.

Nothing that an archive says about itself is believed: names lead nowhere, links are not followed, and no more is
decompressed than a photo can have.
"""

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Self

from cache.errors import UsageError
from detect.failures import Failure
from detect.formats import PHOTO_SUFFIXES
from pipeline.console import counted
from pipeline.intake.folder_index import printable_name
from pipeline.intake.photo import Photo
from pipeline.intake.photo_files import junk_reason

ZIP_SUFFIXES = (".zip",)
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MOST_BYTES = 512 << 20  # of one photo; a file of 100 megapixels without any compression has 300 to 800
# No camera's file shrinks by this factor, not even one of a wall. Small files may: they do no harm.
MOST_SHRUNK, HARMLESS_BYTES = 200, 64 << 20
LONGEST_NAME = 1 << 20  # bytes
NAME_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, OSError, EOFError, ValueError)
LINKS, OUTSIDE = "links in archives", "names that lead out of an archive, predicted under the rest of the name"


def is_archive(path: Path) -> bool:
    """Whether a file of this name is an archive."""
    return path.name.lower().endswith((*ZIP_SUFFIXES, *TAR_SUFFIXES))


def refuse_other_files(path: Path) -> None:
    """Raise UsageError if the file is no archive, whatever its name says."""
    is_zip = path.name.lower().endswith(ZIP_SUFFIXES)
    try:
        is_it = zipfile.is_zipfile(path) if is_zip else tarfile.is_tarfile(path)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} can't be read: {error}") from None
    if not is_it:
        raise UsageError(f"{path} is no {'zip' if is_zip else 'tar'} archive, or it is damaged; unpack or repair it")


@dataclass(slots=True)
class ArchiveReader:
    """Reads the photos of archives.

    Attributes:
        skipped: reason for passing over a member -> how often.
        problems: a sentence for each archive that could not be read to its end.
    """

    skipped: Counter[str] = field(default_factory=Counter[str])
    problems: list[str] = field(default_factory=list[str])

    def photos(self, path: Path, name: str) -> Iterator[Photo]:
        """Yield the photos of an archive in its order, named after `name`, that of the archive."""
        members = self._zip_members if path.name.lower().endswith(ZIP_SUFFIXES) else self._tar_members
        names: set[str] = set()
        for member, read in members(path):
            base = member.replace("\\", "/").rpartition("/")[2]
            if (reason := _passed_over(base)) is not None:
                self.skipped[reason] += 1
                continue
            photo_name = _unique(f"{name}/{self._inside(member)}", names)
            content = read(Path(photo_name))
            yield Photo(Path(photo_name), photo_name, photo_name.rpartition("/")[0], content=content)

    def _inside(self, member: str) -> str:
        """A member's name without what would lead out of a folder."""
        text = printable_name(member.replace("\\", "/"))
        parts = [part for part in PurePosixPath(text).parts if part not in {"/", "..", "."}]
        parts = [part for number, part in enumerate(parts) if number or not part.endswith(":")]
        if text.startswith("/") or ".." in text.split("/") or text[1:2] == ":":
            self.skipped[OUTSIDE] += 1
        return "/".join(parts).replace("\0", "")

    def _zip_members(self, path: Path) -> "Iterator[Member]":
        try:
            archive = zipfile.ZipFile(path)
        except DAMAGE as error:
            self.problems.append(f"{path} is damaged, and none of it can be read: {error}")
            return
        with archive:
            for info in archive.infolist():
                if stat.S_ISLNK(info.external_attr >> 16):
                    self.skipped[LINKS] += 1
                elif not info.is_dir():
                    yield info.filename, lambda name, info=info: _read_zip_member(archive, info, name)

    def _tar_members(self, path: Path) -> "Iterator[Member]":
        is_plain = _is_plain_tar(path)  # whatever its name says; it can be read from anywhere
        most = path.stat().st_size * MOST_SHRUNK + HARMLESS_BYTES
        count = 0
        try:
            with tarfile.open(path, "r:" if is_plain else "r|*", tarinfo=_CheckedHeader) as archive:
                while (info := archive.next()) is not None:
                    # tarfile remembers every member that it has read, which no type checker knows
                    archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
                    if not is_plain and info.offset_data + info.size > most:
                        raise tarfile.ReadError(f"{printable_name(info.name)} would unpack to {info.size:,} bytes")
                    if info.issym() or info.islnk():
                        self.skipped[LINKS] += 1
                    elif info.isfile():
                        count += 1
                        yield info.name, lambda name, info=info: _read_tar_member(archive, info, name)
                    elif not info.isdir():
                        self.skipped["files that are no photos (special)"] += 1
        except DAMAGE as error:
            self.problems.append(f"{path} is damaged after {counted(count, 'file')}; the rest can't be read: {error}")


class _CheckedHeader(tarfile.TarInfo):
    """A tar header that is refused where tarfile would stop without a word, or read any number of bytes."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Make the header from its block; see `tarfile`."""
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):  # the mark of the archive's end
                raise
            raise tarfile.ReadError(str(error) if buf else "its end is missing") from None
        if header.type in NAME_HEADERS and header.size > LONGEST_NAME:
            raise tarfile.ReadError(f"a name of {header.size:,} bytes")
        return header


Member = tuple[str, Callable[[Path], bytes | Failure]]  # its name, and what reads it under the photo's name


def _passed_over(base: str) -> str | None:
    """Why a member with this last part of a name is no photo; None if it is one."""
    if (reason := junk_reason(base)) is not None:
        return reason
    suffix = Path(base).suffix.lower()
    return None if suffix in PHOTO_SUFFIXES else f"files that are no photos ({printable_name(suffix) or 'no ending'})"


def _unique(name: str, names: set[str]) -> str:
    """The name, with a number if a member before has the same one."""
    number, unique = 1, name
    while unique in names:
        number += 1
        unique = f"{name}#{number}"
    names.add(unique)
    return unique


def _read_zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: Path) -> bytes | Failure:
    if info.flag_bits & 0x1:
        return Failure(name, "encrypted", "it is encrypted; unpack the archive with its password and name the folder")
    if info.file_size > HARMLESS_BYTES and info.file_size > info.compress_size * MOST_SHRUNK:
        return _too_large(name, info.file_size)
    try:
        with archive.open(info) as file:
            return _read(file, name)
    except NotImplementedError as error:
        return Failure(name, "no_decoder", f"how it is compressed can't be read here ({error}); unpack the archive")
    except (*DAMAGE, RuntimeError) as error:  # RuntimeError: of a password that the header does not mention
        return Failure(name, "unreadable", f"the archive is damaged there: {error}")


def _read_tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo, name: Path) -> bytes | Failure:
    file = archive.extractfile(info)
    assert file is not None, "it is a regular file"
    try:
        return _read(file, name)
    except DAMAGE as error:
        return Failure(name, "unreadable", f"the archive is damaged there: {error}")


def _read(file: IO[bytes], name: Path) -> bytes | Failure:
    content = file.read(MOST_BYTES + 1)
    return content if len(content) <= MOST_BYTES else _too_large(name, MOST_BYTES + 1)


def _too_large(name: Path, size: int) -> Failure:
    return Failure(name, "too_large", f"it would unpack to {size >> 20:,} MB or more, which is no photo")


def _is_plain_tar(path: Path) -> bool:
    """Whether the tar is not compressed."""
    try:
        with tarfile.open(path, "r:"):
            return True
    except tarfile.TarError:
        return False
