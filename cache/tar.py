"""Put a unit's crops into one tar file, for object stores, in which many small files are slow and expensive.

named crops -> a tar file that tar programs and WebDataset can read, and the offset of each crop in it.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterable

TAR = ".tar"
BLOCK = 512  # bytes; a member is a header of one block and its content, padded to full blocks


def tar_of(members: Iterable[tuple[str, bytes]]) -> tuple[bytes, list[int]]:
    """Return a tar file of (name, content) members, the same bytes on all machines, and each content's offset."""
    file, offsets = io.BytesIO(), list[int]()
    # In ustar, the header is one block whatever the name is.
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            offsets.append(tar.offset + BLOCK)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue(), offsets


def tar_name(unit: str, content: bytes) -> str:
    """Name a unit's tar file by its content, so that writers of the same unit with different bytes do not collide."""
    return f"{unit}.{hashlib.sha256(content).hexdigest()[:12]}{TAR}"
