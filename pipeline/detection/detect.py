"""The detection stage: make sure that each photo's crop is in the cache.

photos -> source ids -> those that the cache lacks -> detection -> a cache entry per photo, which may be a failure.

Nothing heavy is imported unless something is missing, so that a second run takes no time.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache.sources import hash_files, pixels_id, source_id
from cache.store import CropStore, FactStore
from cache.unit import OK, Entry
from detect.config import CropConfig, DetectConfig
from detect.failures import Failure, retry_rule
from detect.fingerprints import crop_spec, detector_spec
from pipeline.context import RunContext
from pipeline.detection.unreadable import report_unreadable, require_a_readable_file, why_missing
from pipeline.intake.photo import Photo

if TYPE_CHECKING:
    from detect.faces import Image
    from detect.subject_finder import SubjectFinder


@dataclass(frozen=True, slots=True)
class Detection:
    """The result of the detection stage.

    Attributes:
        store: the crops.
        sources: file -> source id, for the files that can be read.
        detected: number of photos in which this run searched for a face; the cache had the others' already.
        cut: number of photos whose crops this run made; the cache had the others already.
        steps: the ladder's steps in order.
        seconds: duration of the stage.
        waiting: stage -> its share of the time spent waiting; empty if there was nothing to do.
        failed: source id -> a failure that the cache does not keep, as it is not the photo's; the next run tries again.
    """

    store: CropStore
    sources: Mapping[Path, str]
    detected: int
    cut: int
    steps: tuple[str, ...]
    seconds: float
    waiting: Mapping[str, float]
    failed: Mapping[str, Entry] = field(default_factory=dict[str, Entry])

    def entry(self, photo: Photo) -> Entry:
        """Return a photo's cache entry, or its failure in this run; "missing" if the file can't be read."""
        if isinstance(photo.content, Failure):
            return photo.content.entry("")
        source = self.sources.get(photo.path)
        entry = (self.failed.get(source) or self.store.entry(source)) if source else None
        return entry or Entry("", str(photo.path), "missing", {"sentence": why_missing(photo.path)})

    def summary(self, photos: Sequence[Photo]) -> dict[str, Any]:
        """Return the counts that `detect --json` prints."""
        entries = [self.entry(photo) for photo in photos]
        counts = Counter(entry.facts["found_by"] for entry in entries if entry.outcome == OK)
        reasons = Counter(entry.outcome for entry in entries if entry.outcome != OK)
        return {
            "photos": len(photos),
            "found_by": {**dict.fromkeys(self.steps, 0), **counts},
            "unreadable": reasons.total(),
            "reasons": dict(reasons),
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
    """Make the crops that the cache lacks.

    Args:
        photos: in any order; identical files are detected once.
        context: cache, device and settings.
        detect, crop: instead of the context's settings (a bundle has its own).
        sources: file -> source id, if known already.
        retry: try all photos that failed before again, not only those that `retry_rule` names.

    Raises:
        DetectionError: nothing can be read or detected at the moment; what was finished before is kept.
    """
    started = time.perf_counter()
    detect, crop = detect or context.settings.detect, crop or context.settings.crop
    if sources is None:
        sources = photo_source_ids(photos, context)
    paths = {sources[photo.path]: photo.path for photo in photos if photo.path in sources}
    if not paths:
        require_a_readable_file([photo for photo in photos if photo.content is None])
    crops = context.keep((CropStore, detect, crop), lambda: CropStore(context.cache, crop_spec(detect, crop)))
    facts = context.keep((FactStore, detect), lambda: FactStore(context.cache, detector_spec(detect)))
    max_megapixels = context.settings.data.max_megapixels
    due = retry_rule(max_megapixels, everything=retry)
    missing = crops.missing(paths, retry=due)
    unknown = len(facts.missing(missing, retry=due)) if missing else 0
    waiting: Mapping[str, float] = {}
    failed: Mapping[str, Entry] = {}
    if missing:
        from detect.crops import fill_cache

        with context.console.progress("Finding faces" if unknown else "Cutting crops", len(missing)) as advance:
            filled = fill_cache(
                paths, facts, crops, partial(_load_finder, detect, context), crop,
                threads=context.workers, progress=advance, retry=retry, max_megapixels=max_megapixels,
                contents=_contents(photos, sources),
            )  # fmt: skip
            waiting, failed = filled.waiting, filled.failed
    seconds = time.perf_counter() - started
    detection = Detection(crops, sources, unknown, len(missing), detect.steps, seconds, waiting, failed)
    report_unreadable(photos, detection.entry, context.console)
    return detection


def photo_source_ids(photos: Sequence[Photo], context: RunContext) -> dict[Path, str]:
    """Return path -> source id for the photos that can be read, from files or from memory."""
    sources = source_ids([photo.path for photo in photos if photo.content is None], context)
    for photo in photos:
        if isinstance(photo.content, bytes):
            sources[photo.path] = source_id(photo.content, photo.path)
        elif photo.content is not None and not isinstance(photo.content, Failure):
            sources[photo.path] = pixels_id(photo.content.tobytes(), photo.content.shape, photo.path)
    return sources


def source_ids(paths: Sequence[Path], context: RunContext) -> dict[Path, str]:
    """Return file -> source id (sha256) for the files that can be read."""
    hashes = hash_files(paths, threads=context.workers)
    return {path: source for path, source in hashes.items() if isinstance(source, str)}


def _contents(photos: Sequence[Photo], sources: Mapping[Path, str]) -> "dict[str, bytes | Image]":
    """Source id -> photo of those that are in memory."""
    return {
        sources[photo.path]: photo.content
        for photo in photos
        if photo.content is not None and not isinstance(photo.content, Failure)
    }


def _load_finder(detect: DetectConfig, context: RunContext) -> "SubjectFinder":
    from detect.subject_finder import SubjectFinder  # imports torch

    return context.keep((SubjectFinder, detect), lambda: SubjectFinder(detect, context.torch_device(), context.workers))
