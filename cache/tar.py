"""A unit's crops as one tar file, for stores where every file costs.

named crops -> a tar file that any tar program and WebDataset read, and where in it each crop begins.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterable

TAR = ".tar"
BLOCK = 512  # bytes; a member is a header of one block and its content, filled up to whole blocks


def tar_of(members: Iterable[tuple[str, bytes]]) -> tuple[bytes, list[int]]:
    """The tar file of some members, the same bytes on every machine, and the offset of each one's content."""
    file, offsets = io.BytesIO(), list[int]()
    # ustar: one block before each member, whatever its name is.
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            told = tarfile.TarInfo(name)
            told.size = len(content)
            offsets.append(tar.offset + BLOCK)
            tar.addfile(told, io.BytesIO(content))
    return file.getvalue(), offsets


def tar_name(unit: str, content: bytes) -> str:
    """The name of the tar file with a unit's crops: writers of the same unit whose bytes differ do not meet."""
    return f"{unit}.{hashlib.sha256(content).hexdigest()[:12]}{TAR}"
