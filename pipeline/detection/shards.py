"""A share of the photos for each of several processes that do not talk to each other.

`--shard 2/8` + photos -> every photo whose name's checksum says so.

A photo's shard depends on its name and on nothing else: not on what is in the cache, nor on what the others do or
whether they live. Each process reads the files of its own shard only.
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
        return f"{self.number}/{self.count}"

    def photos(self, photos: Iterable[Photo]) -> list[Photo]:
        """Those of this shard, in order."""
        return [photo for photo in photos if _place(photo.name, self.count) == self.number - 1]


def parse_shard(text: str) -> Shard:
    """The shard that `--shard` names.

    Raises:
        UsageError: it is not two numbers i/n with i from 1 to n.
    """
    told = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    shard = Shard(int(told[1]), int(told[2])) if told else Shard(0, 0)
    if not 1 <= shard.number <= shard.count:
        raise UsageError(f"--shard {text}: it must be i/n with i from 1 to n; the second of eight shards is 2/8")
    return shard


def _place(name: str, count: int) -> int:
    # A name may hold bytes that are no UTF-8, as lone surrogates.
    return zlib.crc32(name.encode("utf-8", "surrogatepass")) % count
