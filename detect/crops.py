"""Make the crops of photos and commit them to the cache.

source ids and their files -> decoded images -> subjects -> crops -> units committed to the cache. If the cache has the
subject already, the crop is cut without running the detector.

The stages overlap: while the detector works on one slice of photos, the next slices are decoded and the crops of
earlier ones are cut, encoded and written. The number of slices in memory is bounded. A unit is committed as soon as it
is complete, so a killed run loses only the units in progress. Several runs may share the work: each starts at a random
unit and skips those that another run has committed.
"""

import random
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cache.store import UNIT_SIZE, CropStore, FactStore
from cache.unit import OK, Entry
from detect.config import CropConfig
from detect.decode import Failure, Reason, decode_file
from detect.faces import Image
from detect.subject import Subject
from detect.window import cut, encode

if TYPE_CHECKING:
    from detect.subject_finder import SubjectFinder  # loads torch, which is not needed to cut crops

Progress = Callable[[int], None]
Made = tuple[Entry, bytes | None]

SLICE_BYTES = 64 << 20  # decoded photos that the detector gets at once
FEWEST, MOST = 8, 128  # photos in a slice, whatever their size
AHEAD = 2  # slices that are decoded in advance
STAGES = ("decode", "detect", "write")


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
) -> dict[str, float]:
    """Make the crops that `crops` lacks and commit them unit by unit.

    Args:
        paths: source id -> a file with these bytes.
        facts: store of the subjects; those in it are not detected again.
        load_finder: returns the finder of subjects; called once, before the first detection.
        crop: size and encoding of the crops.
        threads: for decoding and encoding.
        progress: called after each unit with its number of photos.
        retry: try photos that failed before again.

    Returns:
        Stage in `STAGES` -> its share of the time spent waiting; the largest one is the bottleneck.

    Raises:
        CacheError: a unit could not be written; earlier units are kept.
    """
    spent: dict[str, float] = dict.fromkeys(STAGES, 0.0)  # seconds
    missing = crops.missing(paths, retry=retry)
    detector = CachedSubjectDetector(load_finder, paths, facts.known(missing, retry=retry))
    units = units_of(missing)
    with ThreadPoolExecutor(threads, "crops") as pool, ThreadPoolExecutor(1, "commit") as writer:
        written: Future[None] = writer.submit(lambda: None)
        made: list[Future[Made]] = []
        new: list[Entry] = []
        decoded = _decoded(_uncommitted(units, crops, progress, retry=retry), detector.decode, pool)
        while True:
            with _waiting(spent, "decode"):
                unit, sources, images = next(decoded, ((), (), ()))
            if not unit:
                break
            with _waiting(spent, "detect"):
                entries = detector.find(sources, images)
            new += [entry for entry in entries if entry.source not in detector.known]
            made += [pool.submit(_make, entry, image, crop) for entry, image in zip(entries, images, strict=True)]
            if len(made) == len(unit):
                with _waiting(spent, "write"):
                    written.result()
                written = writer.submit(_commit, facts, new, crops, made, progress)
                made, new = [], []
        with _waiting(spent, "write"):
            written.result()
    total = sum(spent.values()) or 1.0
    return {stage: round(seconds / total, 3) for stage, seconds in spent.items()}


def units_of(missing: Sequence[str]) -> list[Sequence[str]]:
    """Divide sorted source ids into units; runs that start from the same cache get the same units."""
    return [missing[start : start + UNIT_SIZE] for start in range(0, len(missing), UNIT_SIZE)]


def _uncommitted(
    units: Sequence[Sequence[str]], crops: CropStore, progress: Progress, *, retry: bool
) -> Iterator[Sequence[str]]:
    """Yield the units from a random one on, without those that another run has committed in the meantime."""
    first = random.randrange(len(units)) if units else 0
    for unit in (*units[first:], *units[:first]):
        if not retry and crops.has_unit(unit):
            progress(len(unit))
        else:
            yield unit


def _decoded(
    units: Iterable[Sequence[str]], decode: Callable[[str], Image | Failure], pool: ThreadPoolExecutor
) -> Iterator[tuple[Sequence[str], Sequence[str], list[Image | Failure]]]:
    """Yield units in slices: the unit, a slice of its source ids, and their images."""
    ahead: deque[tuple[Sequence[str], Sequence[str], list[Future[Image | Failure]]]] = deque()
    size = FEWEST

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
        size = min(max(SLICE_BYTES // largest, FEWEST), MOST)  # of the following slices
        yield unit, sources, images


class CachedSubjectDetector:
    """Finds the subjects of photos: in the cache, else with the detector, which is loaded when first needed.

    Args:
        paths: source id -> file.
        known: source id -> the cache's entry with its subject, or failure.
    """

    def __init__(
        self, load_finder: Callable[[], "SubjectFinder"], paths: Mapping[str, Path], known: Mapping[str, Entry]
    ) -> None:
        self._load_finder, self._paths, self.known = load_finder, paths, known
        self._finder: SubjectFinder | None = None

    def decode(self, source: str) -> Image | Failure:
        """Read a photo, unless the cache says that it can't be read."""
        entry = self.known.get(source)
        if entry is not None and entry.outcome != OK:
            return Failure(self._paths[source], cast("Reason", entry.outcome), entry.facts.get("sentence", ""))
        return decode_file(self._paths[source])

    def find(self, sources: Sequence[str], images: Sequence[Image | Failure]) -> list[Entry]:
        """Return an entry with the subject of each photo, or its failure, in order."""
        entries: dict[str, Entry] = {}
        unknown: list[tuple[str, Image]] = []
        for source, image in zip(sources, images, strict=True):
            if isinstance(image, Failure):
                entries[source] = self._failed(source, image)
            elif source in self.known:
                entries[source] = self.known[source]
            else:
                unknown.append((source, image))
        if unknown:
            for (source, image), subject in zip(unknown, self._detect(unknown), strict=True):
                if isinstance(subject, Failure):
                    entries[source] = self._failed(source, subject)
                else:
                    facts = {**subject.facts(), "photo": [image.shape[1], image.shape[0]]}
                    entries[source] = Entry(source, str(self._paths[source]), OK, facts)
        return [entries[source] for source in sources]

    def _failed(self, source: str, failure: Failure) -> Entry:
        return Entry(source, str(self._paths[source]), failure.reason, {"sentence": failure.message})

    def _detect(self, photos: Sequence[tuple[str, Image]]) -> "Sequence[Subject | Failure]":
        """Run the detector on all photos at once, and after an error on each photo by itself."""
        if self._finder is None:
            self._finder = self._load_finder()
        try:
            return self._finder.find([image for _, image in photos])
        except Exception:  # of any kind: a photo on which the detector fails must not stop the run
            return [self._detect_single(self._finder, source, image) for source, image in photos]

    def _detect_single(self, finder: "SubjectFinder", source: str, image: Image) -> Subject | Failure:
        try:
            return finder.find([image])[0]
        except MemoryError:
            raise  # not the photo's fault
        except Exception as error:
            return Failure(self._paths[source], "unreadable", f"the detector failed on it: {error}")


def _make(entry: Entry, image: Image | Failure, crop: CropConfig) -> Made:
    """Cut and encode the crop of a photo; None for a failure."""
    if entry.outcome != OK or isinstance(image, Failure):
        return entry, None
    window = Subject.from_facts(entry.facts).window(image.shape[0], image.shape[1], crop)
    facts = {**entry.facts, "window": window.as_list(), "turn": round(window.turn, 2)}
    return replace(entry, facts=facts), encode(cut(image, window, crop), crop)


def _commit(
    facts: FactStore, new: Sequence[Entry], crops: CropStore, made: Sequence[Future[Made]], progress: Progress
) -> None:
    if new:
        facts.commit(new)
    crops.commit([item.result() for item in made])
    progress(len(made))


@contextmanager
def _waiting(spent: dict[str, float], stage: str) -> Generator[None]:
    """Add the seconds that the block takes to those spent waiting for a stage."""
    started = time.perf_counter()
    try:
        yield
    finally:
        spent[stage] += time.perf_counter() - started
