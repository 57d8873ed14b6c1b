"""The detection stage on the machines of a Ray cluster.

photos -> source ids, hashed by the actors -> the units that the cache lacks -> actors that make one unit at a time.

The units are those of a run on one machine, so the resulting cache is the same. The cluster keeps no state: a unit is
in the cache or it is not, and after any crash the same command continues from there.
"""

import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cache.errors import CacheError, DataError
from cache.remote import address, remote_of
from cache.store import CropStore, FactStore
from cache.unit import Entry
from detect.crops import STAGES, units_of
from detect.failures import retry_rule
from detect.fingerprints import crop_spec, detector_spec
from pipeline.context import RunContext
from pipeline.detection.detect import Detection
from pipeline.detection.ray_pool import WorkerPool, cluster, plan_actors
from pipeline.detection.ray_worker import UnitActor, UnitDone, WorkerSettings
from pipeline.detection.unreadable import report_unreadable, require_a_readable_file
from pipeline.intake.photo import Photo

FILES_AT_ONCE = 256  # that an actor hashes in one call


@dataclass(frozen=True, slots=True)
class ClusterDetection:
    """The result of the stage, and how many actors on how many machines made units."""

    detection: Detection
    actors: int
    nodes: int


def detect_on_cluster(
    photos: Sequence[Photo], context: RunContext, *, threads: int | None = None, retry: bool = False
) -> ClusterDetection:
    """Make the crops that the cache lacks, like `detect_photos`, on the cluster of RAY_ADDRESS.

    Args:
        photos: in any order; all machines must see the same files under the same paths.
        context: cache, device and settings.
        threads: CPUs per actor; None for a suitable number.
        retry: try all photos that failed before again, not only those that `retry_rule` names.

    Raises:
        UsageError: there is no such cluster, or no actor fits into it.
        DataError: other machines do not see the photos.
        DetectionError: none of the files can be read at the moment.
        CacheError: the run can't continue; what was committed is kept.
    """
    started = time.perf_counter()
    detect, crop = context.settings.detect, context.settings.crop
    max_megapixels = context.settings.data.max_megapixels
    due = retry_rule(max_megapixels, everything=retry)
    spec = crop_spec(detect, crop)
    store = CropStore(context.cache, spec)
    cache_address = shared_address(context.cache)
    files = {str(path.absolute()): path for path in dict.fromkeys(photo.path for photo in photos)}
    with cluster() as ray:
        plan = plan_actors([node["Resources"] for node in ray.nodes() if node["Alive"]], context.device, threads)
        settings = WorkerSettings(
            cache_address, detect, crop, store.fingerprint, plan.device, plan.threads, retry, max_megapixels
        )
        pool = WorkerPool(ray, UnitActor, settings, min(plan.count, max(-(-len(files) // FILES_AT_ONCE), 1)))
        try:
            sources = _hash_files(pool, context, files)
            if not sources:
                require_a_readable_file(photos)
            paths = {source: str(path.absolute()) for path, source in sources.items()}
            missing = store.missing(paths, retry=due)
            units = [[(source, paths[source]) for source in unit] for unit in units_of(missing)]
            facts = detector_spec(detect)
            unknown = len(FactStore(context.cache, facts).missing(missing, retry=due)) if missing else 0
            waiting, failed = _make_units(pool, context, units) if missing else ({}, {})
        finally:
            pool.stop()
    store = CropStore(context.cache, spec)  # opened again, to see what the actors have committed
    if lost := set(store.missing(paths)) - failed.keys():
        raise CacheError(
            f"{len(lost)} crops were made but are not in the cache at {cache_address} on this machine. "
            "All machines must see the same cache: name a shared folder or an object store with --cache."
        )
    seconds = time.perf_counter() - started
    detection = Detection(store, sources, unknown, len(missing), detect.steps, seconds, waiting, failed)
    report_unreadable(photos, detection.entry, context.console)
    actors = pool.nodes_of_actors if missing else {}
    return ClusterDetection(detection, len(actors), len(set(actors.values())))


def refuse_unseen(paths: Iterable[Path]) -> None:
    """Raise DataError if this process can read one of the files that an actor could not read."""
    for path in paths:
        if path.is_file() and os.access(path, os.R_OK):
            raise DataError(
                f"{path} can be read on this machine, but not on another one of the cluster. "
                "Put the photos on a disk that all machines see under the same path."
            )


def shared_address(cache: Path) -> str:
    """The cache's folder or URL, as all machines know it."""
    return address(cache) if remote_of(cache) else str(cache.absolute())


def _hash_files(pool: WorkerPool, context: RunContext, files: dict[str, Path]) -> dict[Path, str]:
    """Have the actors hash the files; returns file -> source id for those that can be read."""
    names = list(files)
    slices = [names[start : start + FILES_AT_ONCE] for start in range(0, len(names), FILES_AT_ONCE)]
    hashes: dict[str, str | None] = {}
    with context.console.progress("Hashing files", len(files)) as advance:

        def add_hashes(names: list[str], sources: list[str | None]) -> None:
            hashes.update(zip(names, sources, strict=True))
            advance(len(names))

        pool.run("hash_paths", slices, add_hashes)
    refuse_unseen(Path(name) for name, source in hashes.items() if source is None)
    return {path: source for name, path in files.items() if (source := hashes[name])}


def _make_units(
    pool: WorkerPool, context: RunContext, units: Sequence[list[tuple[str, str]]]
) -> tuple[dict[str, float], dict[str, Entry]]:
    """Have the actors make units of (source id, path); returns `waiting` and `failed` of `Detection`."""
    spent: Counter[str] = Counter()
    failed: dict[str, Entry] = {}
    with context.console.progress("Finding faces", sum(map(len, units))) as advance:

        def add_unit(unit: list[tuple[str, str]], made: UnitDone) -> None:
            spent.update({stage: share * made.seconds for stage, share in made.waiting.items()})
            failed.update(made.failed)
            advance(len(unit))

        pool.run("make_unit", units, add_unit)
    total = sum(spent.values()) or 1.0
    return {stage: round(spent[stage] / total, 3) for stage in STAGES}, failed
