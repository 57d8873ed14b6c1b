"""What runs on the machines of a Ray cluster: an actor that hashes files and makes whole units.

paths -> source ids; (source id, path) of one unit -> the unit committed to the cache, and a few numbers.

Photos are read and crops are written where the actor is: no pixels travel. Each actor opens the cache and loads the
networks once, when its first unit comes.
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
from detect.config import CropConfig, DetectConfig
from detect.crops import fill_cache
from detect.spec import crop_spec, detector_spec

if TYPE_CHECKING:
    from detect.ladder import SubjectFinder


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """What all actors of a run are told.

    Attributes:
        cache: the cache's folder or URL, as every machine knows it.
        detect, crop: the settings.
        fingerprint: of the crops, as the driver works it out.
        device: "cpu" or "cuda".
        threads: of each actor.
        retry: try photos again that failed before.
    """

    cache: str
    detect: DetectConfig
    crop: CropConfig
    fingerprint: str
    device: str
    threads: int
    retry: bool


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the run can't go on, for the user."""

    sentence: str


@dataclass(frozen=True, slots=True)
class UnitDone:
    """A unit is in the cache: how long it took, and the share of that in which it waited for each stage."""

    seconds: float
    waiting: Mapping[str, float]


class UnitActor:
    """One process of the cluster, which does one thing at a time."""

    def __init__(self, order: WorkOrder) -> None:
        self._order = order
        self._stores: tuple[FactStore, CropStore] | None = None
        self._finder: SubjectFinder | None = None

    def begin(self) -> str | Trouble:
        """The id of the machine, when it can take part."""
        if fingerprint(crop_spec(self._order.detect, self._order.crop)) != self._order.fingerprint:
            return _trouble(
                "another version of faceline, which makes other crops; install the same one on all machines"
            )
        import ray

        return ray.get_runtime_context().get_node_id()

    def hash_paths(self, paths: Sequence[str]) -> list[str | None]:
        """The source id of each file; None for one that can't be read."""
        told = hash_files(map(Path, paths), threads=self._order.threads)
        return [found if isinstance(found := told[Path(path)], str) else None for path in paths]

    def make_unit(self, members: Sequence[tuple[str, str]]) -> UnitDone | Trouble:
        """Commit one unit, unless somebody else did.

        Args:
            members: source ids, each with its file.
        """
        started = time.perf_counter()
        wanted = {source: Path(path) for source, path in members}
        try:
            found, crops = self._opened()
            waiting = fill_cache(
                wanted, found, crops, self._loaded, self._order.crop,
                threads=self._order.threads, progress=lambda _: None, retry=self._order.retry,
            )  # fmt: skip
        except FacelineError as error:
            return _trouble(str(error))
        return UnitDone(time.perf_counter() - started, waiting)

    def _opened(self) -> tuple[FactStore, CropStore]:
        if self._stores is None:
            root = cache_folder(self._order.cache)
            detect, crop = self._order.detect, self._order.crop
            self._stores = FactStore(root, detector_spec(detect)), CropStore(root, crop_spec(detect, crop))
        return self._stores

    def _loaded(self) -> "SubjectFinder":
        if self._finder is None:
            from detect.ladder import SubjectFinder

            cv2.setNumThreads(self._order.threads)
            self._finder = SubjectFinder(self._order.detect, self._order.device, self._order.threads)
        return self._finder


def _trouble(sentence: str) -> Trouble:
    return Trouble(f"{socket.gethostname()}: {sentence}")
