"""Divide the photos among several processes that do not communicate.

A photo's shard depends only on the checksum of its name, not on the cache or the other processes. Each process reads
only the files of its shard.
"""

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from cache.errors import UsageError
from pipeline.intake.photo import Photo


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` shards, numbered from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        """Return the shard as `--shard` takes it."""
        return f"{self.number}/{self.count}"

    def photos(self, photos: Iterable[Photo]) -> list[Photo]:
        """Return the photos of this shard, in order."""
        # A name with bytes that are not UTF-8 contains lone surrogates.
        checksums = ((photo, zlib.crc32(photo.name.encode("utf-8", "surrogatepass"))) for photo in photos)
        return [photo for photo, checksum in checksums if checksum % self.count == self.number - 1]

    def share(self, count: int) -> range:
        """Return the numbers of this shard among 0 to `count` - 1: consecutive ones, as many as others have."""
        return range(count * (self.number - 1) // self.count, count * self.number // self.count)


def parse_shard(text: str) -> Shard:
    """Parse the value of `--shard`.

    Raises:
        UsageError: it is not i/n with i from 1 to n.
    """
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    shard = Shard(int(match[1]), int(match[2])) if match else Shard(0, 0)
    if not 1 <= shard.number <= shard.count:
        raise UsageError(
            f"--shard {text}: it must be i/n with i from 1 to n, for example 2/8 for the second of eight shards"
        )
    return shard
