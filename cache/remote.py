"""A cache in an object store, and the local folder that mirrors what was read of it.

`s3://bucket/folder` -> a folder with remote.json -> the same files as in a cache on disk, brought when they are needed.

Objects have the names of the files. Nothing is ever written over: a unit is its tar file, put first, and its manifest,
put only where there is none yet. That put is the commit: whoever comes second drops what it has made, and a tar file
without a manifest is never read. What is in the mirror can be deleted at any time.
"""

import functools
import hashlib
import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from cache import atomic
from cache.errors import CacheError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

REMOTE_FILE = "remote.json"
SIZE_LIMIT = "FACELINE_MIRROR_GB"
THREADS = 16  # requests at a time
PATIENCE = 60  # seconds that a request is tried again
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Stored:
    """One object: its name below the cache, its size and its age in seconds."""

    name: str
    size_bytes: int
    age: float


class Remote:
    """An object store that holds a cache.

    Args:
        url: s3://, gs://, az:// or file:// with bucket and folder; credentials come from the environment.
        mirror: the local folder.

    Raises:
        CacheError: the extra is not installed, or nobody knows such a URL.
    """

    def __init__(self, url: str, mirror: Path) -> None:
        self.url, self._mirror = url, mirror
        self._store = _open(url)
        self._limit = size_limit()
        self._held: OrderedDict[Path, int] | None = None
        self._lock = threading.Lock()

    def pull(self, path: Path) -> bool:
        """Bring an object into the mirror when it is not there yet; False when there is no such object.

        Raises:
            CacheError: the object store can't be reached.
        """
        if not path.is_file():
            content = self._read(self._name(path))
            if content is None:
                return False
            atomic.write_bytes(path, content)
        return True

    def pull_manifests(self, folder: Path) -> None:
        """Bring every manifest below `folder`, and what describes them; forget those that are no longer there."""
        wanted = {self._mirror / one.name for one in self.list(folder) if one.name.endswith((".json", ".jsonl"))}
        for manifest in folder.glob("**/units/??/*.jsonl"):
            if manifest not in wanted:
                self.drop(manifest)
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self.pull, wanted))

    def hold(self, tar: Path) -> None:
        """Bring a whole unit's crops; those that were used longest ago make room for them.

        Raises:
            CacheError: the object store can't be reached.
        """
        with self._lock:
            held = self._held_files()
            if tar in held and tar.is_file():
                held.move_to_end(tar)
                return
            if self.pull(tar):  # else it is gone, as the reader finds
                self._take(tar, tar.stat().st_size)

    def keep(self, tar: Path, content: bytes) -> None:
        """Put crops that were just made into the mirror, too."""
        with self._lock:
            atomic.write_bytes(tar, content)
            self._take(tar, len(content))

    def _take(self, tar: Path, size_bytes: int) -> None:
        held = self._held_files()
        held[tar] = size_bytes
        while sum(held.values()) > self._limit and len(held) > 1:
            held.popitem(last=False)[0].unlink(missing_ok=True)

    def drop(self, path: Path) -> None:
        """Forget the mirror's copy, which may be damaged."""
        path.unlink(missing_ok=True)

    def create(self, path: Path, content: bytes) -> bool:
        """Put an object where there is none; False, and nothing put, where there is one."""
        from obstore.exceptions import AlreadyExistsError

        try:
            self._ask(lambda: self._store.put(self._name(path), content, mode="create"))
        except AlreadyExistsError:
            return False
        return True

    def list(self, folder: Path) -> Iterator[Stored]:
        """Every object below a folder of the mirror."""
        prefix = "" if folder == self._mirror else f"{self._name(folder)}/"
        now = time.time()
        for part in self._ask(lambda: list(self._store.list(prefix))):
            for one in part:
                yield Stored(one["path"], one["size"], now - one["last_modified"].timestamp())

    def delete(self, path: Path) -> None:
        """Delete an object, or every object below a folder, manifests first: half a unit is never read."""
        names = [one.name for one in self.list(path)] or [self._name(path)]
        names.sort(key=lambda name: name.endswith(".tar"))
        for name in names:
            self._ask(functools.partial(self._store.delete, name))

    def _read(self, name: str) -> bytes | None:
        try:
            return bytes(self._ask(lambda: self._store.get(name).bytes()))
        except FileNotFoundError:
            return None

    def _held_files(self) -> "OrderedDict[Path, int]":
        if self._held is None:
            tars = {tar: tar.stat() for tar in self._mirror.glob("crops/*/units/??/*.tar")}
            self._held = OrderedDict(
                (tar, tars[tar].st_size) for tar in sorted(tars, key=lambda tar: tars[tar].st_mtime)
            )
        return self._held

    def _name(self, path: Path) -> str:
        return path.relative_to(self._mirror).as_posix()

    def _ask(self, request: Callable[[], R]) -> R:
        from obstore.exceptions import AlreadyExistsError, BaseError

        try:
            return request()
        except (AlreadyExistsError, FileNotFoundError):
            raise
        except (BaseError, OSError) as error:
            why = str(error).partition("\n")[0]
            raise CacheError(
                f"{self.url} can't be used: {why}\n"
                "Check the address, the credentials in the environment and the network; what was committed is kept."
            ) from error


@functools.cache
def remote_of(root: Path) -> Remote | None:
    """The object store that a folder mirrors; None for a cache on disk."""
    try:
        told = json.loads((root / REMOTE_FILE).read_text(encoding="utf-8"))
    except OSError:
        return None
    return Remote(told["url"], root)


def address(root: Path) -> str:
    """What a user calls this cache: its folder, or its URL."""
    remote = remote_of(root)
    return remote.url if remote else str(root)


def pull_all(root: Path) -> None:
    """Bring everything but the crops when the folder mirrors an object store."""
    if remote := remote_of(root):
        remote.pull_manifests(root)


def mirror_of(url: str, folder: Path) -> Path:
    """The folder, made below `folder`, that mirrors the cache at a URL."""
    url = url.rstrip("/")
    root = folder / "mirrors" / hashlib.sha256(url.encode()).hexdigest()[:16]
    if not (root / REMOTE_FILE).is_file():
        _open(url)  # a URL that makes no sense leaves nothing behind
        atomic.write_text(root / REMOTE_FILE, json.dumps({"url": url}) + "\n")
    return root


def size_limit() -> int:
    """Bytes of crops that a mirror may hold: FACELINE_MIRROR_GB, 50 by default."""
    told = os.environ.get(SIZE_LIMIT, "50")
    try:
        limit = int(float(told) * 1e9)
    except ValueError:
        limit = 0
    if limit <= 0:
        raise CacheError(f"{SIZE_LIMIT}={told} is no size; give gigabytes, 50 for example")
    return limit


def _open(url: str) -> "ObjectStore":
    try:
        import obstore.store
        from obstore.exceptions import BaseError
    except ImportError as error:
        raise CacheError(f"a cache at {url} needs an extra: pip install 'faceline[objects]'") from error
    try:
        if url.startswith("file://"):
            return obstore.store.from_url(url, mkdir=True)
        return obstore.store.from_url(url, retry_config={"retry_timeout": timedelta(seconds=PATIENCE)})
    except (BaseError, ValueError) as error:
        why = str(error).partition("\n")[0]
        raise CacheError(f"--cache {url}: {why}. Known are s3://, gs://, az:// and file://") from error
