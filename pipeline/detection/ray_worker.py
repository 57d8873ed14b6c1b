"""The actor that runs on the machines of a Ray cluster: it hashes files and makes units.

paths -> source ids; (source id, path) of one unit -> the unit committed to the cache, and its timing.

Each actor reads photos and writes crops itself, so no pixels are sent over the network. It opens the cache and loads
the networks once, for its first unit.
"""

import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from cache import cache_folder
from cache.config import fingerprint
from cache.errors import FacelineError
from cache.sources import hash_files
from cache.store import CropStore, FactStore
from cache.unit import Entry
from detect.config import CropConfig, DetectConfig
from detect.crops import fill_cache
from detect.failures import MAX_MEGAPIXELS
from detect.fingerprints import crop_spec, detector_spec

if TYPE_CHECKING:
    from detect.subject_finder import SubjectFinder


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The settings of all actors of a run.

    Attributes:
        cache: the cache's folder or URL, the same for all machines.
        fingerprint: of the crops, as computed by the driver.
        device: "cpu" or "cuda".
        retry: try all photos that failed before again.
        max_megapixels: larger photos are not read.
    """

    cache: str
    detect: DetectConfig
    crop: CropConfig
    fingerprint: str
    device: str
    threads: int
    retry: bool
    max_megapixels: float = MAX_MEGAPIXELS


@dataclass(frozen=True, slots=True)
class WorkerFailure:
    """The reason why the run can't continue, for the user."""

    message: str


@dataclass(frozen=True, slots=True)
class UnitDone:
    """A finished unit: its duration, stage -> its share of the time spent waiting, and `Filled.failed`."""

    seconds: float
    waiting: Mapping[str, float]
    failed: Mapping[str, Entry]


class UnitActor:
    """An actor: a process of the cluster that handles one call at a time."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._stores: tuple[FactStore, CropStore] | None = None
        self._finder: SubjectFinder | None = None

    def begin(self) -> str | WorkerFailure:
        """Return the id of the machine, or a failure if its faceline makes other crops."""
        if fingerprint(crop_spec(self._settings.detect, self._settings.crop)) != self._settings.fingerprint:
            return failure_here("another version of faceline, whose crops differ; install the same one on all machines")
        import ray

        return ray.get_runtime_context().get_node_id()

    def hash_paths(self, paths: Sequence[str]) -> list[str | None]:
        """Return the source id of each file; None for one that can't be read."""
        hashes = hash_files(map(Path, paths), threads=self._settings.threads)
        return [source if isinstance(source := hashes[Path(path)], str) else None for path in paths]

    def make_unit(self, members: Sequence[tuple[str, str]]) -> UnitDone | WorkerFailure:
        """Make and commit the unit of the photos in `members`, (source id, file), unless another process did."""
        started = time.perf_counter()
        paths = {source: Path(path) for source, path in members}
        try:
            facts, crops = self._open_stores()
            filled = fill_cache(
                paths, facts, crops, self._load_finder, self._settings.crop,
                threads=self._settings.threads, progress=lambda _: None, retry=self._settings.retry,
                max_megapixels=self._settings.max_megapixels,
            )  # fmt: skip
        except FacelineError as error:
            return failure_here(str(error))
        return UnitDone(time.perf_counter() - started, filled.waiting, filled.failed)

    def _open_stores(self) -> tuple[FactStore, CropStore]:
        if self._stores is None:
            root = cache_folder(self._settings.cache)
            detect, crop = self._settings.detect, self._settings.crop
            self._stores = FactStore(root, detector_spec(detect)), CropStore(root, crop_spec(detect, crop))
        return self._stores

    def _load_finder(self) -> "SubjectFinder":
        if self._finder is None:
            from detect.subject_finder import SubjectFinder

            cv2.setNumThreads(self._settings.threads)
            self._finder = SubjectFinder(self._settings.detect, self._settings.device, self._settings.threads)
        return self._finder


def failure_here(message: str) -> WorkerFailure:
    """Return a failure that names this machine."""
    return WorkerFailure(f"{socket.gethostname()}: {message}")
