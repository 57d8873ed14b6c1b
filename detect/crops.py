"""Make the crops of photos and commit them to the cache.

source ids and their files -> decoded images -> subjects -> crops -> units committed to the cache. If the cache has the
subject already, the crop is cut without running the detector.

The stages overlap: while the detector works on one slice of photos, the next slices are decoded and the crops of
earlier ones are cut, encoded and written. The number of slices in memory is bounded. A unit is committed as soon as it
is complete, so a killed run loses only the units in progress. Several runs may share the work: each starts at a random
unit and skips those that another run has committed.

A photo that fails for a reason that is not in its bytes is reported, but not committed; when this befalls all photos of
a slice, the run stops.
"""

import random
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from cache.errors import DetectionError
from cache.store import UNIT_SIZE, CropStore, FactStore, RetryRule
from cache.unit import OK, Entry
from detect.cached_detector import CachedSubjectDetector
from detect.config import CropConfig
from detect.faces import Image
from detect.failures import COMMON_CAUSES, MAX_MEGAPIXELS, Failure, failure_of, is_passing, retry_rule
from detect.subject import Subject
from detect.window import cut, encode

if TYPE_CHECKING:
    from detect.subject_finder import SubjectFinder  # loads torch, which is not needed to cut crops

Progress = Callable[[int], None]
Made = tuple[Entry, bytes | None]

SLICE_BYTES = 64 << 20  # decoded photos that the detector gets at once
FEWEST, MOST = 8, 128  # photos in a slice
MOST_BYTES = 512 << 20  # with large photos, a slice has fewer than FEWEST
FIRST = 2  # photos in a slice until their size is known
AHEAD = 2  # slices that are decoded in advance
STAGES = ("decode", "detect", "write")


@dataclass(frozen=True, slots=True)
class Filled:
    """The result of filling the cache.

    Attributes:
        waiting: stage in `STAGES` -> its share of the time spent waiting; the largest one is the bottleneck.
        failed: source id -> the failure of a photo that the cache does not keep; the next run tries it again.
    """

    waiting: Mapping[str, float]
    failed: Mapping[str, Entry]


def fill_cache(
    paths: Mapping[str, Path],
    facts: FactStore,
    crops: CropStore,
    load_finder: Callable[[], "SubjectFinder"],
    crop: CropConfig,
    *,
    threads: int,
    progress: Progress,
    retry: bool = False,
    max_megapixels: float = MAX_MEGAPIXELS,
    contents: Mapping[str, bytes | Image] | None = None,
) -> Filled:
    """Make the crops that `crops` lacks and commit them unit by unit.

    Args:
        paths: source id -> a file with these bytes.
        facts: store of the subjects; those in it are not detected again.
        load_finder: returns the finder of subjects; called once, before the first detection.
        crop: size and encoding of the crops.
        threads: for decoding and encoding.
        progress: called after each unit with its number of photos.
        retry: try all photos that failed before again, not only those of `retry_rule`.
        max_megapixels: larger photos are not read.
        contents: source id -> the photo, where it is in memory and not in a file.

    Raises:
        CacheError: a unit could not be written; earlier units are kept.
        DetectionError: all photos of a slice failed for a reason that is not in them; earlier units are kept.
    """
    spent: dict[str, float] = dict.fromkeys(STAGES, 0.0)  # seconds
    failed: dict[str, Entry] = {}
    due = retry_rule(max_megapixels, everything=retry)
    missing = crops.missing(paths, retry=due)
    detector = CachedSubjectDetector(load_finder, paths, facts.known(missing, retry=due), max_megapixels, contents)
    units = _uncommitted(units_of(missing), crops, progress, due)
    with ThreadPoolExecutor(threads, "crops") as pool, ThreadPoolExecutor(1, "commit") as writer:
        written: Future[None] = writer.submit(lambda: None)
        made: list[Future[Made]] = []
        new: list[Entry] = []
        decoded = _decoded(units, detector.decode, pool)
        while True:
            with _waiting(spent, "decode"):
                unit, sources, images = next(decoded, ((), (), ()))
            if not unit:
                break
            with _waiting(spent, "detect"):
                entries = detector.find(sources, images)
            _stop_if_all_failed(entries)
            new += [entry for entry in entries if entry.source not in detector.known]
            made += [pool.submit(_make, entry, image, crop) for entry, image in zip(entries, images, strict=True)]
            if len(made) == len(unit):
                with _waiting(spent, "write"):
                    written.result()
                written = writer.submit(_commit, facts, new, crops, made, failed, progress)
                made, new = [], []
        with _waiting(spent, "write"):
            written.result()
    total = sum(spent.values()) or 1.0
    return Filled({stage: round(seconds / total, 3) for stage, seconds in spent.items()}, failed)


def units_of(missing: Sequence[str]) -> list[Sequence[str]]:
    """Divide sorted source ids into units; runs that start from the same cache get the same units."""
    return [missing[start : start + UNIT_SIZE] for start in range(0, len(missing), UNIT_SIZE)]


def _uncommitted(
    units: Sequence[Sequence[str]], crops: CropStore, progress: Progress, due: RetryRule
) -> Iterator[Sequence[str]]:
    """Yield the units from a random one on, without those that another run has committed in the meantime."""
    first = random.randrange(len(units)) if units else 0
    for unit in (*units[first:], *units[:first]):
        if crops.has_unit(unit) and not crops.missing(unit, retry=due):
            progress(len(unit))
        else:
            yield unit


def _decoded(
    units: Iterable[Sequence[str]], decode: Callable[[str], Image | Failure], pool: ThreadPoolExecutor
) -> Iterator[tuple[Sequence[str], Sequence[str], list[Image | Failure]]]:
    """Yield units in slices: the unit, a slice of its source ids, and their images."""
    ahead: deque[tuple[Sequence[str], Sequence[str], list[Future[Image | Failure]]]] = deque()
    size = FIRST

    def slices() -> Iterator[tuple[Sequence[str], Sequence[str]]]:
        for unit in units:
            start = 0
            while start < len(unit):
                sources = unit[start : start + size]
                start += len(sources)
                yield unit, sources

    remaining = slices()
    while True:
        for unit, sources in islice(remaining, AHEAD + 1 - len(ahead)):
            ahead.append((unit, sources, [pool.submit(decode, source) for source in sources]))
        if not ahead:
            return
        unit, sources, decoding = ahead.popleft()
        images = [image.result() for image in decoding]
        largest = max((image.nbytes for image in images if not isinstance(image, Failure)), default=1)
        # Of the following slices
        size = max(1, min(max(SLICE_BYTES // largest, FEWEST), MOST, MOST_BYTES // largest))
        yield unit, sources, images


def _stop_if_all_failed(entries: Sequence[Entry]) -> None:
    """Raise a DetectionError if all photos of a slice, two or more, failed for a reason that befalls all at once."""
    if len(entries) > 1 and all(entry.outcome in COMMON_CAUSES for entry in entries):
        listed = "\n".join(f"{entry.path}: {entry.facts['sentence']}" for entry in entries[:3])
        raise DetectionError(
            f"{len(entries)} photos in a row can't be read or detected at the moment:\n{listed}\n"
            "No photo is recorded as unreadable for that, and what was finished before is kept. When the cause is "
            "mended, the same command goes on."
        )


def _make(entry: Entry, image: Image | Failure, crop: CropConfig) -> Made:
    """Cut and encode the crop of a photo; None for a failure."""
    if entry.outcome != OK or isinstance(image, Failure):
        return entry, None
    try:
        window = Subject.from_facts(entry.facts).window(image.shape[0], image.shape[1], crop)
        content = encode(cut(image, window, crop), crop)
    except Exception as error:  # a full memory, mostly; no photo may stop the run
        return failure_of(error, Path(entry.path), "its crop can't be cut").entry(entry.source), None
    facts = {**entry.facts, "window": window.as_list(), "turn": round(window.turn, 2)}
    return replace(entry, facts=facts), content


def _commit(
    facts: FactStore,
    new: Sequence[Entry],
    crops: CropStore,
    made: Sequence[Future[Made]],
    failed: dict[str, Entry],
    progress: Progress,
) -> None:
    """Commit a unit, first what was found in its photos and then their crops; add passing failures to `failed`."""
    items = [item.result() for item in made]
    if found := [entry for entry in new if not is_passing(entry)]:
        facts.commit(found)
    if kept := [item for item in items if not is_passing(item[0])]:
        crops.commit(kept)
    failed.update({entry.source: entry for entry, _ in items if is_passing(entry)})
    progress(len(made))


@contextmanager
def _waiting(spent: dict[str, float], stage: str) -> Generator[None]:
    """Add the seconds that the block takes to those spent waiting for a stage."""
    started = time.perf_counter()
    try:
        yield
    finally:
        spent[stage] += time.perf_counter() - started
