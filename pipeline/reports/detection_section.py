"""What the report shows of the detection: faces by step, and those that the first step missed.

In: RUN/photos.csv and the crops' cache. Out: DetectionFacts.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cache.errors import CacheError
from cache.store import CropStore
from cache.unit import OK
from pipeline.reports.pictures import Pictures
from pipeline.safe_csv import read_back

MISSES_SHOWN = 48


@dataclass(frozen=True, slots=True)
class DetectionFacts:
    """How the faces of the labelled photos were found."""

    steps: Sequence[tuple[str, int]]  # step, or why there is no crop -> photos
    misses: Sequence[tuple[str, str, str]]  # thumbnail's CSS class, file name, step
    missed: int  # all of them


def detection_facts(run: Path, first_step: str, store: CropStore, pictures: Pictures) -> DetectionFacts | None:
    """Look the labelled photos up in the cache; None if the run does not list them, or the cache has none of them."""
    path = run / "photos.csv"
    if not path.is_file():
        return None
    try:
        photos = read_back(pl.read_csv(path, infer_schema=False)).select("path", "source").rows()
    except (pl.exceptions.PolarsError, OSError):
        return None
    counts: Counter[str] = Counter()
    missed: list[tuple[str, str, str]] = []
    for name, source in photos:
        try:
            entry = store.entry(source) if source else None
        except (CacheError, ValueError):  # ValueError: a damaged source id
            return None
        if entry is None:
            continue
        step = str(entry.facts.get("found_by", "")) if entry.outcome == OK else entry.outcome
        counts[step] += 1
        if step != first_step:
            missed.append((source, name, step))
    if not counts:
        return None
    # The last resorts first: a window without a face is what is most often wrong.
    missed.sort(key=lambda each: counts[each[2]])
    shown = [(pictures.name(source), name, step) for source, name, step in missed[:MISSES_SHOWN]]
    return DetectionFacts(counts.most_common(), shown, len(missed))
