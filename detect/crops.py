"""Photos to crops: the whole way of this room on one page.

source ids and their files -> decoded images -> subjects -> crops -> units committed to the cache.

The stages overlap: files are decoded some slices of photos ahead, and crops are cut, encoded and written behind, while
the detector works on the slice between. How far ahead and behind is bounded, so memory does not grow with the number of
photos. A unit is committed as soon as it is full: a kill costs the units in flight and nothing else.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from cache.store import UNIT_SIZE, CropStore
from cache.unit import Entry
from detect.config import CropConfig
from detect.decode import Failure, decode_file
from detect.faces import Image
from detect.ladder import Subject, SubjectFinder
from detect.window import cut, encode

Progress = Callable[[int], None]
Made = tuple[Entry, bytes | None]

SLICE_BYTES = 64 << 20  # decoded photos that go through the detector together
FEWEST, MOST = 8, 128  # photos in a slice, however large or small they are
AHEAD = 2  # slices that are decoded before they are wanted
STAGES = ("decode", "detect", "write")


def fill_cache(
    wanted: Mapping[str, Path],
    store: CropStore,
    finder: SubjectFinder,
    crop: CropConfig,
    *,
    threads: int,
    progress: Progress,
) -> dict[str, float]:
    """Make the crops that `store` lacks and commit them unit by unit.

    Args:
        wanted: source id -> a file with these bytes.
        store: where the crops go.
        finder: finds the subject of each image.
        crop: size and encoding of the crops.
        threads: for decoding and encoding.
        progress: called with the number of photos done after each unit.

    Returns:
        The share of the time that the run waited for each stage, in `STAGES`; the largest one is the bottleneck.

    Raises:
        CacheError: a unit could not be written; what was committed before stays.
    """
    clock = _Clock()
    missing = store.missing(wanted)
    with ThreadPoolExecutor(threads, "crops") as pool, ThreadPoolExecutor(1, "commit") as writer:
        written: Future[None] | None = None
        decoded = _decoded(missing, wanted, pool)
        for start in range(0, len(missing), UNIT_SIZE):
            unit = missing[start : start + UNIT_SIZE]
            made: list[Future[Made]] = []
            while len(made) < len(unit):
                with clock.waiting_for("decode"):
                    sources, images = next(decoded)
                with clock.waiting_for("detect"):
                    found = _find(finder, images, [wanted[source] for source in sources])
                for source, image, subject in zip(sources, images, found, strict=True):
                    made.append(pool.submit(_make, source, wanted[source], image, subject, crop))
            with clock.waiting_for("write"):
                if written is not None:
                    written.result()
            written = writer.submit(_commit, store, made, progress)
        with clock.waiting_for("write"):
            if written is not None:
                written.result()
    return clock.shares()


def count_outcomes(entries: Sequence[Entry]) -> dict[str, int]:
    """How many photos ended on each step of the ladder; those that could not be read count as "unreadable"."""
    return dict(Counter(e.facts["found_by"] if e.outcome == "ok" else "unreadable" for e in entries))


def _decoded(
    missing: Sequence[str], wanted: Mapping[str, Path], pool: ThreadPoolExecutor
) -> Iterator[tuple[Sequence[str], list[Image | Failure]]]:
    """Slices of source ids with their images; no slice reaches from one unit into the next.

    The photos of a slice tell how large those of the following ones may be.
    """
    ahead: deque[tuple[Sequence[str], list[Future[Image | Failure]]]] = deque()
    start, size = 0, FEWEST
    while start < len(missing) or ahead:
        while start < len(missing) and len(ahead) <= AHEAD:
            end = min(start + size, start - start % UNIT_SIZE + UNIT_SIZE)
            sources = missing[start:end]
            ahead.append((sources, [pool.submit(decode_file, wanted[source]) for source in sources]))
            start += len(sources)
        sources, decoding = ahead.popleft()
        images = [image.result() for image in decoding]
        largest = max((image.nbytes for image in images if not isinstance(image, Failure)), default=1)
        size = min(max(SLICE_BYTES // largest, FEWEST), MOST)
        yield sources, images


def _find(finder: SubjectFinder, images: Sequence[Image | Failure], paths: Sequence[Path]) -> list[Subject | Failure]:
    """The subject of each image, or why there is none; a photo that the detector fails on takes no other along."""
    found: list[Subject | Failure] = [image for image in images if isinstance(image, Failure)]
    if len(found) == len(images):
        return found
    at = [index for index, image in enumerate(images) if not isinstance(image, Failure)]
    readable = [image for image in images if not isinstance(image, Failure)]
    try:
        subjects: Sequence[Subject | Failure] = finder.find(readable)
    except Exception:  # whatever it is: one photo's failure must not stop the run
        subjects = [_find_alone(finder, image, paths[index]) for index, image in zip(at, readable, strict=True)]
    told = dict(zip(at, subjects, strict=True))
    return [image if isinstance(image, Failure) else told[index] for index, image in enumerate(images)]


def _find_alone(finder: SubjectFinder, image: Image, path: Path) -> Subject | Failure:
    try:
        return finder.find([image])[0]
    except MemoryError:
        raise  # says nothing about the photo
    except Exception as error:
        return Failure(path, "unreadable", f"the detector failed on it: {error}")


def _make(source: str, path: Path, image: Image | Failure, subject: Subject | Failure, crop: CropConfig) -> Made:
    for failure in (image, subject):
        if isinstance(failure, Failure):
            return Entry(source, str(path), failure.reason, {"sentence": failure.sentence}), None
    assert not isinstance(image, Failure)
    assert not isinstance(subject, Failure)
    facts = {**subject.facts(), "photo": [image.shape[1], image.shape[0]]}
    return Entry(source, str(path), "ok", facts), encode(cut(image, subject.window, crop), crop)


def _commit(store: CropStore, made: Sequence[Future[Made]], progress: Progress) -> None:
    store.commit([one.result() for one in made])
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
