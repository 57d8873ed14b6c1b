"""Photos to crops: the whole way of this room on one page.

source ids and their files -> decoded images -> subjects -> crops -> units committed to the cache.

Files are decoded and crops encoded in threads while the detector works on the batch before; at most two units of photos
are in memory. A unit is committed at once, so a kill costs the unit in flight and nothing else.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from cache.store import UNIT_SIZE, CropStore
from cache.unit import Entry
from detect.config import CropConfig
from detect.decode import Failure, decode_file
from detect.faces import Image
from detect.ladder import Subject, SubjectFinder
from detect.window import cut, encode

Progress = Callable[[int], None]


def fill_cache(
    wanted: Mapping[str, Path],
    store: CropStore,
    finder: SubjectFinder,
    crop: CropConfig,
    *,
    threads: int,
    progress: Progress,
) -> None:
    """Make the crops that `store` lacks and commit them unit by unit.

    Args:
        wanted: source id -> a file with these bytes.
        store: where the crops go.
        finder: finds the subject of each image.
        crop: size and encoding of the crops.
        threads: for decoding and encoding.
        progress: called with the number of photos done after each unit.

    Raises:
        CacheError: a unit could not be written; what was committed before stays.
    """
    with ThreadPoolExecutor(threads) as pool:
        for unit, images in _decoded(wanted, store.missing(wanted), pool):
            made = _make_unit([(source, wanted[source]) for source in unit], images, finder, crop, pool)
            store.commit(made)
            progress(len(unit))


def count_outcomes(entries: Sequence[Entry]) -> dict[str, int]:
    """How many photos ended on each step of the ladder; those that could not be read count as "unreadable"."""
    return dict(Counter(e.facts["found_by"] if e.outcome == "ok" else "unreadable" for e in entries))


def _decoded(
    wanted: Mapping[str, Path], missing: Sequence[str], pool: ThreadPoolExecutor
) -> Iterator[tuple[Sequence[str], list[Image | Failure]]]:
    """Units of source ids with their images; the next unit is read while the caller works on this one."""
    ahead: tuple[Sequence[str], list[Future[Image | Failure]]] | None = None
    for start in range(0, len(missing), UNIT_SIZE):
        unit = missing[start : start + UNIT_SIZE]
        reading = [pool.submit(decode_file, wanted[source]) for source in unit]
        if ahead is not None:
            yield ahead[0], [future.result() for future in ahead[1]]
        ahead = (unit, reading)
    if ahead is not None:
        yield ahead[0], [future.result() for future in ahead[1]]


def _make_unit(
    photos: Sequence[tuple[str, Path]],
    images: Sequence[Image | Failure],
    finder: SubjectFinder,
    crop: CropConfig,
    pool: ThreadPoolExecutor,
) -> list[tuple[Entry, bytes | None]]:
    readable = [image for image in images if not isinstance(image, Failure)]
    subjects = iter(finder.find(readable))

    def finish(photo: tuple[str, Path], image: Image | Failure, subject: Subject | None) -> tuple[Entry, bytes | None]:
        source, path = photo
        if isinstance(image, Failure):
            return Entry(source, str(path), image.reason, {"sentence": image.sentence}), None
        assert subject is not None  # every image has one, if only the fallback
        facts = {**subject.facts(), "photo": [image.shape[1], image.shape[0]]}
        return Entry(source, str(path), "ok", facts), encode(cut(image, subject.window, crop), crop)

    of_each = [None if isinstance(image, Failure) else next(subjects) for image in images]
    return list(pool.map(finish, photos, images, of_each))
