"""The detection stage on the machines of a Ray cluster.

photos -> source ids, hashed by the actors -> the units that the cache lacks -> actors that make one unit at a time.

The units are those of a run on one machine: what is in the cache in the end does not depend on who made it. The cluster
holds nothing that matters: a unit is in the cache or it is not, and the same command goes on after any death.
"""

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cache.errors import CacheError, DataError
from cache.remote import address, remote_of
from cache.store import CropStore, FactStore
from detect.crops import STAGES, units_of
from detect.spec import crop_spec, detector_spec
from pipeline.context import RunContext
from pipeline.detection.detect import Detection
from pipeline.detection.ray_pool import WorkerPool, cluster, places
from pipeline.detection.ray_worker import UnitDone, WorkOrder
from pipeline.intake.photo import Photo

FILES_AT_ONCE = 256  # that an actor hashes before it answers


@dataclass(frozen=True, slots=True)
class ClusterDetection:
    """What was detected, and how many actors on how many machines made units."""

    detection: Detection
    actors: int
    nodes: int


def detect_on_cluster(
    photos: Sequence[Photo], context: RunContext, *, threads: int | None = None, retry: bool = False
) -> ClusterDetection:
    """Make sure that every photo's crop is in the cache, as `detect_photos` does, on the cluster of RAY_ADDRESS.

    Args:
        photos: in any order; every machine must see the same files in the same places.
        job: cache, device and settings.
        threads: CPUs of each actor.
        retry: try photos again that failed before.

    Raises:
        UsageError: there is no such cluster, or nothing fits into it.
        DataError: the other machines do not see the photos.
        CacheError: the run can't go on; what was committed is kept.
    """
    started = time.perf_counter()
    detect, crop = context.settings.detect, context.settings.crop
    facts, spec = detector_spec(detect), crop_spec(detect, crop)
    store = CropStore(context.cache, spec)
    here = address(context.cache) if remote_of(context.cache) else str(context.cache.absolute())
    files = {str(path.absolute()): path for path in dict.fromkeys(photo.path for photo in photos)}
    slices = _sliced(list(files))
    with cluster() as ray:
        fits = places([node["Resources"] for node in ray.nodes() if node["Alive"]], context.device, threads)
        order = WorkOrder(here, detect, crop, store.fingerprint, fits.device, fits.threads, retry)
        pool = WorkerPool(ray, order, min(fits.count, max(len(slices), 1)))
        try:
            sources = _hashed(pool, context, files, slices)
            wanted = {source: str(path.absolute()) for path, source in sources.items()}
            missing = store.missing(wanted, retry=retry)
            unknown = len(FactStore(context.cache, facts).missing(missing, retry=retry)) if missing else 0
            waiting = _made(pool, context, missing, wanted) if missing else {}
        finally:
            pool.end()
    store = CropStore(context.cache, spec)  # with what the actors have committed
    if gone := store.missing(wanted):
        raise CacheError(
            f"{len(gone)} crops were made but are not in the cache at {here} on this machine. "
            "All machines must see the same cache: name a shared folder or an object store with --cache."
        )
    seconds = time.perf_counter() - started
    detection = Detection(store, sources, unknown, len(missing), detect.steps, seconds, waiting)
    helpers = pool.made_by if missing else {}
    return ClusterDetection(detection, len(helpers), len(set(helpers.values())))


def _hashed(pool: WorkerPool, context: RunContext, files: dict[str, Path], slices: list[list[str]]) -> dict[Path, str]:
    told: dict[str, str | None] = {}
    with context.console.progress("Hashing files", len(files)) as advance:

        def take(names: list[str], sources: list[str | None]) -> None:
            told.update(zip(names, sources, strict=True))
            advance(len(names))

        pool.work("hash_paths", slices, take)
    for name, source in told.items():
        if source is None and Path(name).is_file() and os.access(name, os.R_OK):
            raise DataError(
                f"{name} can be read on this machine, but not on another one of the cluster. "
                "Put the photos on a disk that all machines see in the same place."
            )
    return {path: source for name, path in files.items() if (source := told[name])}


def _made(pool: WorkerPool, context: RunContext, missing: Sequence[str], wanted: dict[str, str]) -> dict[str, float]:
    """Have the units made; returns the share of the actors' time in which they waited for each stage."""
    units = [[(source, wanted[source]) for source in unit] for unit in units_of(missing)]
    spent: Counter[str] = Counter()
    with context.console.progress("Finding faces", len(missing)) as advance:

        def take(unit: list[tuple[str, str]], made: UnitDone) -> None:
            spent.update({stage: share * made.seconds for stage, share in made.waiting.items()})
            advance(len(unit))

        pool.work("make_unit", units, take)
    whole = sum(spent.values()) or 1.0
    return {stage: round(spent[stage] / whole, 3) for stage in STAGES}


def _sliced(names: list[str]) -> list[list[str]]:
    return [names[start : start + FILES_AT_ONCE] for start in range(0, len(names), FILES_AT_ONCE)]
