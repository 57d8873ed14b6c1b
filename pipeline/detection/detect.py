"""The detection stage: every photo's crop in the cache, and where it is.

photos -> source ids -> the ids that the cache lacks -> detection -> one cache entry, or a reason, per photo.

Nothing heavy is imported while there is nothing to detect: a second run says so in a moment.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache.sources import hash_files
from cache.store import CropStore, FactStore
from cache.unit import Entry
from detect.config import CropConfig, DetectConfig
from detect.spec import crop_spec, detector_spec
from pipeline.context import RunContext
from pipeline.intake.photo import Photo

if TYPE_CHECKING:
    from detect.ladder import SubjectFinder


@dataclass(frozen=True, slots=True)
class Detection:
    """Where the crops of some photos are.

    Attributes:
        store: the crops.
        sources: file -> source id, of the files that could be read.
        detected: photos in which this run looked for a face; of the others the cache knew it.
        cut: photos that this run cut a crop from; of the others it was in the cache.
        steps: the ladder's steps in their order.
        seconds: what it took.
        waiting: share of the time that the run waited for each stage; empty when nothing was to do.
    """

    store: CropStore
    sources: Mapping[Path, str]
    detected: int
    cut: int
    steps: tuple[str, ...]
    seconds: float
    waiting: Mapping[str, float]

    def entry(self, photo: Photo) -> Entry:
        """What the cache says of a photo; outcome "missing" when the file itself can't be read."""
        source = self.sources.get(photo.path)
        found = self.store.entry(source) if source else None
        return found or Entry("", str(photo.path), "missing", {"sentence": "the file can't be read"})

    def summary(self, photos: Sequence[Photo]) -> dict[str, Any]:
        """The counts that `detect --json` ends with."""
        found = Counter(e.facts["found_by"] if e.outcome == "ok" else "" for e in map(self.entry, photos))
        unreadable = found.pop("", 0)
        return {
            "photos": len(photos),
            "found_by": {step: found.get(step, 0) for step in self.steps},
            "unreadable": unreadable,
            "detected": self.detected,
            "cut": self.cut,
            "seconds": round(self.seconds, 3),
            "waiting": dict(self.waiting),
            "photos_per_s": round(len(photos) / max(self.seconds, 1e-9), 1),
        }


def detect_photos(
    photos: Sequence[Photo],
    context: RunContext,
    *,
    detect: DetectConfig | None = None,
    crop: CropConfig | None = None,
    sources: Mapping[Path, str] | None = None,
    retry: bool = False,
) -> Detection:
    """Make sure that every photo's crop is in the cache.

    Args:
        photos: in any order; identical files are detected once.
        job: cache, device and settings.
        detect, crop: in place of the job's settings (a bundle brings its own).
        sources: source ids that are known already.
        retry: try photos again that failed before.
    """
    started = time.perf_counter()
    detect, crop = detect or context.settings.detect, crop or context.settings.crop
    if sources is None:
        sources = source_ids([photo.path for photo in photos], context)
    wanted = {sources[photo.path]: photo.path for photo in photos if photo.path in sources}
    crops, found = CropStore(context.cache, crop_spec(detect, crop)), FactStore(context.cache, detector_spec(detect))
    missing = crops.missing(wanted, retry=retry)
    unknown = len(found.missing(missing, retry=retry)) if missing else 0
    waiting: Mapping[str, float] = {}
    if missing:
        from detect.crops import fill_cache

        with context.console.progress("Finding faces" if unknown else "Cutting crops", len(missing)) as advance:
            waiting = fill_cache(
                wanted, found, crops, _finder_of(detect, context), crop,
                threads=context.workers, progress=advance, retry=retry,
            )  # fmt: skip
    seconds = time.perf_counter() - started
    return Detection(crops, sources, unknown, len(missing), detect.steps, seconds, waiting)


def source_ids(paths: Sequence[Path], context: RunContext) -> dict[Path, str]:
    """The sha256 of every file that can be read."""
    return {path: found for path, found in hash_files(paths, threads=context.workers).items() if isinstance(found, str)}


def _finder_of(detect: DetectConfig, context: RunContext) -> "Callable[[], SubjectFinder]":
    def load() -> "SubjectFinder":
        from detect.ladder import SubjectFinder

        return SubjectFinder(detect, context.torch_device(), context.workers)

    return load
