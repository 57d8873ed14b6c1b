"""A cache in an object store, and the local folder that mirrors what was read from it.

`s3://bucket/folder` -> a folder with remote.json -> the same files as in a cache on disk, downloaded when needed.

Objects have the same names as the files. Nothing is ever overwritten: a unit is a tar file, put first, and a manifest,
put only if it does not exist yet. That second put is the commit: a writer that comes second drops its own unit, and a
tar file without a manifest is never read. The mirror can be deleted at any time.
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
from typing import TYPE_CHECKING, TypeVar

from cache import atomic
from cache.errors import CacheError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

REMOTE_FILE = "remote.json"
SIZE_LIMIT = "FACELINE_MIRROR_GB"
THREADS = 16  # requests at a time
RETRY_S = 60  # seconds for which a request is retried
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Stored:
    """One object: its name relative to the cache, its size and its age."""

    name: str
    size_bytes: int
    age_s: float


class Remote:
    """A cache in an object store.

    Args:
        url: s3://, gs://, az:// or file:// URL with bucket and folder; credentials come from the environment.
        mirror: the local folder for copies.

    Raises:
        CacheError: the extra is not installed, or such URLs are not supported; in all methods that send a request, the
            object store can't be reached.
    """

    def __init__(self, url: str, mirror: Path) -> None:
        self.url, self._mirror = url, mirror
        self._store = _open(url)
        self._limit = size_limit()
        # Mirrored tar files and their bytes, least recently used first.
        self._tars: OrderedDict[Path, int] | None = None
        self._lock = threading.Lock()

    def pull(self, path: Path) -> bool:
        """Download an object unless the mirror has it; False if there is no such object."""
        if not path.is_file():
            try:
                content = bytes(self._call(lambda: self._store.get(self._name(path)).bytes()))
            except FileNotFoundError:
                return False
            atomic.write_bytes(path, content)
        return True

    def pull_manifests(self, folder: Path) -> None:
        """Download all manifests and JSON files below `folder`, and forget manifests that no longer exist."""
        current = {self._mirror / obj.name for obj in self.list(folder) if obj.name.endswith((".json", ".jsonl"))}
        for manifest in folder.glob("**/units/??/*.jsonl"):
            if manifest not in current:
                self.forget(manifest)
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self.pull, current))

    def pull_tar(self, tar: Path) -> None:
        """Download a unit's crops unless the mirror has them; may evict the least recently used ones."""
        with self._lock:
            tars = self._mirrored_tars()
            if tar in tars and tar.is_file():
                tars.move_to_end(tar)
                return
            if self.pull(tar):  # otherwise it is gone, and reading it raises
                self._record_tar(tar, tar.stat().st_size)

    def mirror_tar(self, tar: Path, content: bytes) -> None:
        """Copy crops that were just committed into the mirror."""
        with self._lock:
            atomic.write_bytes(tar, content)
            self._record_tar(tar, len(content))

    def _record_tar(self, tar: Path, size_bytes: int) -> None:
        """Note a new tar file of the mirror, and delete the least recently used ones beyond the size limit."""
        tars = self._mirrored_tars()
        tars[tar] = size_bytes
        while sum(tars.values()) > self._limit and len(tars) > 1:
            tars.popitem(last=False)[0].unlink(missing_ok=True)

    def forget(self, path: Path) -> None:
        """Delete the mirror's copy, which may be damaged."""
        path.unlink(missing_ok=True)

    def create(self, path: Path, content: bytes) -> bool:
        """Put an object unless it exists; False if it does."""
        from obstore.exceptions import AlreadyExistsError

        try:
            self._call(lambda: self._store.put(self._name(path), content, mode="create"))
        except AlreadyExistsError:
            return False
        return True

    def list(self, folder: Path) -> Iterator[Stored]:
        """Yield all objects below a folder of the mirror."""
        prefix = "" if folder == self._mirror else f"{self._name(folder)}/"
        now = time.time()
        for part in self._call(lambda: list(self._store.list(prefix))):
            for obj in part:
                yield Stored(obj["path"], obj["size"], now - obj["last_modified"].timestamp())

    def delete(self, path: Path) -> None:
        """Delete an object, or all objects below a folder, manifests first, so that no partial unit is read."""
        names = [obj.name for obj in self.list(path)] or [self._name(path)]
        for name in sorted(names, key=lambda name: name.endswith(".tar")):
            self._call(functools.partial(self._store.delete, name))

    def _mirrored_tars(self) -> "OrderedDict[Path, int]":
        if self._tars is None:
            stats = {tar: tar.stat() for tar in self._mirror.glob("crops/*/units/??/*.tar")}
            oldest_first = sorted(stats, key=lambda tar: stats[tar].st_mtime)
            self._tars = OrderedDict((tar, stats[tar].st_size) for tar in oldest_first)
        return self._tars

    def _name(self, path: Path) -> str:
        return path.relative_to(self._mirror).as_posix()

    def _call(self, request: Callable[[], R]) -> R:
        """Run a request; its errors become CacheErrors, except for a missing or an existing object."""
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
    """Return the object store that a folder mirrors; None for a cache on disk."""
    try:
        url = json.loads((root / REMOTE_FILE).read_text(encoding="utf-8"))["url"]
    except OSError:
        return None
    return Remote(url, root)


def address(root: Path) -> str:
    """Return what a user calls this cache: its folder or its URL."""
    remote = remote_of(root)
    return remote.url if remote else str(root)


def pull_all(root: Path) -> None:
    """Download everything but the crops if the folder mirrors an object store."""
    if remote := remote_of(root):
        remote.pull_manifests(root)


def mirror_of(url: str, folder: Path) -> Path:
    """Return the folder below `folder` that mirrors the cache at a URL; creates it if needed."""
    url = url.rstrip("/")
    root = folder / "mirrors" / hashlib.sha256(url.encode()).hexdigest()[:16]
    if not (root / REMOTE_FILE).is_file():
        _open(url)  # an invalid URL leaves nothing behind
        atomic.write_text(root / REMOTE_FILE, json.dumps({"url": url}) + "\n")
    return root


def size_limit() -> int:
    """Return how many bytes of crops a mirror may hold: FACELINE_MIRROR_GB, 50 by default."""
    gigabytes = os.environ.get(SIZE_LIMIT, "50")
    try:
        limit = int(float(gigabytes) * 1e9)
    except ValueError:
        limit = 0
    if limit <= 0:
        raise CacheError(f"{SIZE_LIMIT}={gigabytes} is not a size; give gigabytes, for example 50")
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
        return obstore.store.from_url(url, retry_config={"retry_timeout": timedelta(seconds=RETRY_S)})
    except (BaseError, ValueError) as error:
        why = str(error).partition("\n")[0]
        raise CacheError(f"--cache {url}: {why}. Supported are s3://, gs://, az:// and file://") from error
