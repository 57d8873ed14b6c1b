"""What the report shows of the detection: faces by step, and the photos in which the first step found none.

In: RUN/photos.csv, the photos and their crops' cache. Out: DetectionFacts.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cache.errors import CacheError
from cache.store import CropStore
from cache.unit import OK, Entry
from pipeline.intake.photo import Photo
from pipeline.reports.contact_sheets import Image, photo_with_window
from pipeline.reports.pictures import Pictures
from pipeline.safe_csv import read_back

MISSES_SHOWN = 48
PHOTO_WIDTH, PHOTO_HEIGHT = 132, 176  # pixels


@dataclass(frozen=True, slots=True)
class Miss:
    """A photo in which the first step found no face."""

    picture: str  # its CSS class
    path: str
    step: str  # that found one, or why there is no crop


@dataclass(frozen=True, slots=True)
class DetectionFacts:
    """How the faces of the labelled photos were found."""

    steps: Sequence[tuple[str, int]]  # step, or why there is no crop -> photos
    misses: Sequence[Miss]
    missed: int  # all of them


def detection_facts(
    run: Path, first_step: str, store: CropStore, pictures: Pictures, photos: Sequence[Photo]
) -> DetectionFacts | None:
    """Look the labelled photos up in the cache; None if the run does not list them, or the cache has none of them.

    Args:
        run: its folder.
        first_step: of the detection.
        store: the crops.
        pictures: of the page.
        photos: the labelled ones; none if the data set is gone.
    """
    path = run / "photos.csv"
    if not path.is_file():
        return None
    try:
        names = read_back(pl.read_csv(path, infer_schema=False)).select("path", "source").rows()
    except (pl.exceptions.PolarsError, OSError):
        return None
    counts: Counter[str] = Counter()
    missed: list[tuple[str, str, Entry]] = []
    for name, source in names:
        try:
            entry = store.entry(source) if source else None
        except (CacheError, ValueError):  # ValueError: a damaged source id
            return None
        if entry is None:
            continue
        step = str(entry.facts.get("found_by", "")) if entry.outcome == OK else entry.outcome
        counts[step] += 1
        if step != first_step:
            missed.append((step, name, entry))
    if not counts:
        return None
    # The last resorts first: a window without a face is what is most often wrong.
    missed.sort(key=lambda each: counts[each[0]])
    by_name = {photo.name: photo for photo in photos}
    shown = [Miss(_picture(name, entry, by_name, pictures), name, step) for step, name, entry in missed[:MISSES_SHOWN]]
    return DetectionFacts(counts.most_common(), shown, len(missed))


def _picture(name: str, entry: Entry, photos: Mapping[str, Photo], pictures: Pictures) -> str:
    """The photo with the window that was cut; its crop if the photo is gone or has changed."""

    def read() -> Image | None:
        image = photo_with_window(photos[name], entry) if name in photos else None
        return pictures.read(entry.source) if image is None else image

    return pictures.keep(f"photo {entry.source}", read, PHOTO_WIDTH, PHOTO_HEIGHT)
