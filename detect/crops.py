"""Photos to crops: the whole way of this room on one page.

source ids and their files -> decoded images -> subjects -> crops -> units committed to the cache. Where the cache knows
the subject already, another crop is cut without another look.

The stages overlap: files are decoded some slices of photos ahead, and crops are cut, encoded and written behind, while
the detector works on the slice between. How far ahead and behind is bounded, so memory does not grow with the number of
photos. A unit is committed as soon as it is full: a kill costs the units in flight and nothing else. Several runs may
work on the same photos: each begins at another unit, and passes over those that another one has committed by then.
"""

import random
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
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
    from detect.ladder import SubjectFinder  # loads torch, which cutting alone does not need

Progress = Callable[[int], None]
Made = tuple[Entry, bytes | None]

SLICE_BYTES = 64 << 20  # decoded photos that go through the detector together
FEWEST, MOST = 8, 128  # photos in a slice, however large or small they are
AHEAD = 2  # slices that are decoded before they are wanted
STAGES = ("decode", "detect", "write")


def fill_cache(
    wanted: Mapping[str, Path],
    found: FactStore,
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
        wanted: source id -> a file with these bytes.
        found: where the subjects go; those that are there are not looked for again.
        crops: where the crops go.
        load_finder: gives what finds the subject of each image; called when the first one is to be found.
        crop: size and encoding of the crops.
        threads: for decoding and encoding.
        progress: called with the number of photos done after each unit.
        retry: try photos again that failed before.

    Returns:
        The share of the time that the run waited for each stage, in `STAGES`; the largest one is the bottleneck.

    Raises:
        CacheError: a unit could not be written; what was committed before stays.
    """
    clock = _Clock()
    missing = crops.missing(wanted, retry=retry)
    look = _Look(load_finder, wanted, found.known(missing, retry=retry))
    units = units_of(missing)
    with ThreadPoolExecutor(threads, "crops") as pool, ThreadPoolExecutor(1, "commit") as writer:
        written: Future[None] | None = None
        made: list[Future[Made]] = []
        new: list[Entry] = []
        decoded = _decoded(_left_to_do(units, crops, progress, retry=retry), look.decode, pool)
        while True:
            with clock.waiting_for("decode"):
                unit, sources, images = next(decoded, ((), (), ()))
            if not unit:
                break
            with clock.waiting_for("detect"):
                entries = look.at(sources, images)
            new += [entry for entry in entries if entry.source not in look.known]
            made += [pool.submit(_make, entry, image, crop) for entry, image in zip(entries, images, strict=True)]
            if len(made) == len(unit):
                with clock.waiting_for("write"):
                    if written is not None:
                        written.result()
                written = writer.submit(_commit, found, new, crops, made, progress)
                made, new = [], []
        with clock.waiting_for("write"):
            if written is not None:
                written.result()
    return clock.shares()


def units_of(missing: Sequence[str]) -> list[Sequence[str]]:
    """How source ids, sorted, are divided into units: the same ones in every run from the same state."""
    return [missing[start : start + UNIT_SIZE] for start in range(0, len(missing), UNIT_SIZE)]


def count_outcomes(entries: Sequence[Entry]) -> dict[str, int]:
    """How many photos ended on each step of the ladder; those that could not be read count as "unreadable"."""
    return dict(Counter(e.facts["found_by"] if e.outcome == "ok" else "unreadable" for e in entries))


def _left_to_do(
    units: Sequence[Sequence[str]], crops: CropStore, progress: Progress, *, retry: bool
) -> Iterator[Sequence[str]]:
    """The units, from any of them on, without those that another run has committed when their turn comes."""
    first = random.randrange(len(units)) if units else 0
    for unit in (*units[first:], *units[:first]):
        if not retry and crops.has_unit(unit):
            progress(len(unit))
        else:
            yield unit


def _decoded(
    units: Iterable[Sequence[str]], decode: Callable[[str], Image | Failure], pool: ThreadPoolExecutor
) -> Iterator[tuple[Sequence[str], Sequence[str], list[Image | Failure]]]:
    """Each unit in slices: the unit, a slice of its source ids and their images.

    The photos of a slice tell how large those of the following ones may be.
    """
    ahead: deque[tuple[Sequence[str], Sequence[str], list[Future[Image | Failure]]]] = deque()
    size = FEWEST

    def slices() -> Iterator[tuple[Sequence[str], Sequence[str]]]:
        for unit in units:
            start = 0
            while start < len(unit):
                sources = unit[start : start + size]
                start += len(sources)
                yield unit, sources

    coming = slices()
    while True:
        while len(ahead) <= AHEAD and (part := next(coming, None)):
            unit, sources = part
            ahead.append((unit, sources, [pool.submit(decode, source) for source in sources]))
        if not ahead:
            return
        unit, sources, decoding = ahead.popleft()
        images = [image.result() for image in decoding]
        largest = max((image.nbytes for image in images if not isinstance(image, Failure)), default=1)
        size = min(max(SLICE_BYTES // largest, FEWEST), MOST)
        yield unit, sources, images


class _Look:
    """Who is on the photos: what is known of them, or what the detector says."""

    def __init__(
        self, load_finder: Callable[[], "SubjectFinder"], paths: Mapping[str, Path], known: Mapping[str, Entry]
    ) -> None:
        self._load_finder, self._paths, self.known = load_finder, paths, known
        self._finder: SubjectFinder | None = None

    def decode(self, source: str) -> Image | Failure:
        """The photo's pixels, or why there are none."""
        entry = self.known.get(source)
        if entry is not None and entry.outcome != OK:
            return Failure(self._paths[source], cast("Reason", entry.outcome), entry.facts.get("sentence", ""))
        return decode_file(self._paths[source])

    def at(self, sources: Sequence[str], images: Sequence[Image | Failure]) -> list[Entry]:
        """What is found in each photo; one that the detector fails on takes no other along."""
        told: dict[str, Entry] = {}
        unknown: list[tuple[str, Image]] = []
        for source, image in zip(sources, images, strict=True):
            if isinstance(image, Failure):
                told[source] = self._failed(source, image)
            elif source in self.known:
                told[source] = self.known[source]
            else:
                unknown.append((source, image))
        if unknown:
            for (source, image), subject in zip(unknown, self._find(unknown), strict=True):
                if isinstance(subject, Failure):
                    told[source] = self._failed(source, subject)
                else:
                    facts = {**subject.facts(), "photo": [image.shape[1], image.shape[0]]}
                    told[source] = Entry(source, str(self._paths[source]), OK, facts)
        return [told[source] for source in sources]

    def _failed(self, source: str, failure: Failure) -> Entry:
        return Entry(source, str(self._paths[source]), failure.reason, {"sentence": failure.sentence})

    def _find(self, photos: Sequence[tuple[str, Image]]) -> "Sequence[Subject | Failure]":
        if self._finder is None:
            self._finder = self._load_finder()
        try:
            return self._finder.find([image for _, image in photos])
        except Exception:  # whatever it is: one photo's failure must not stop the run
            return [self._find_alone(self._finder, source, image) for source, image in photos]

    def _find_alone(self, finder: "SubjectFinder", source: str, image: Image) -> Subject | Failure:
        try:
            return finder.find([image])[0]
        except MemoryError:
            raise  # says nothing about the photo
        except Exception as error:
            return Failure(self._paths[source], "unreadable", f"the detector failed on it: {error}")


def _make(entry: Entry, image: Image | Failure, crop: CropConfig) -> Made:
    if entry.outcome != OK or isinstance(image, Failure):
        return entry, None
    window = Subject.from_facts(entry.facts).window(image.shape[0], image.shape[1], crop)
    facts = {**entry.facts, "window": window.as_list(), "turn": round(window.turn, 2)}
    return replace(entry, facts=facts), encode(cut(image, window, crop), crop)


def _commit(
    found: FactStore, new: Sequence[Entry], crops: CropStore, made: Sequence[Future[Made]], progress: Progress
) -> None:
    if new:
        found.commit(new)
    crops.commit([one.result() for one in made])
    progress(len(made))


class _Clock:
    """How long the run waited for each stage."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def waiting_for(self, stage: str) -> Generator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._spent[stage] += time.perf_counter() - started

    def shares(self) -> dict[str, float]:
        whole = sum(self._spent.values()) or 1.0
        return {stage: round(spent / whole, 3) for stage, spent in self._spent.items()}
