"""The photos that a run was started with, by content: the same command must find the same bytes under each name.

In: photos and their source ids. Out: RUN/photos.csv, or an error that names the photos that were replaced.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from cache import atomic
from cache.errors import UsageError
from classify.data.sample import Sample
from pipeline.intake.photo import Photo
from pipeline.safe_csv import csv_text, read_back

SHOWN = 3  # names of replaced photos in the error


def write_photos(run: Path, samples: Sequence[Sample]) -> None:
    """Write RUN/photos.csv: the source id of each photo that is trained on or held out."""
    columns = {"path": [sample.name for sample in samples], "source": [sample.source for sample in samples]}
    atomic.write_text(run / "photos.csv", csv_text(pl.DataFrame(columns)))


def refuse_replaced_photos(run: Path, photos: Sequence[Photo], sources: Mapping[Path, str]) -> None:
    """Make sure that `photos` are the files that the run was started with; photos of other names are not looked at.

    A run of an older version has no photos.csv; once it is finished, its held-out photos are in validation.csv.

    Args:
        sources: file -> source id, for the files that could be read.

    Raises:
        UsageError: under the same names, there are other files now; the message names the first of them.
    """
    path = next((run / name for name in ("photos.csv", "validation.csv") if (run / name).is_file()), None)
    if path is None:
        return
    try:
        table = read_back(pl.read_csv(path, columns=["path", "source"], infer_schema=False))
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).split("\n")[0]
        raise UsageError(f"{path} can't be read ({reason}); use another folder with --out") from None
    before = dict(zip(table["path"], table["source"], strict=True))
    replaced = [
        photo.name
        for photo in photos
        if photo.path in sources and before.get(photo.name, sources[photo.path]) != sources[photo.path]
    ]
    if replaced:
        count = "one photo was" if len(replaced) == 1 else f"{len(replaced):,} photos were"
        more = f" and {len(replaced) - SHOWN:,} more" if len(replaced) > SHOWN else ""
        raise UsageError(
            f"{run} was started with other pictures: since then, {count} replaced by another file of the same name "
            f"({', '.join(replaced[:SHOWN])}{more}).\n"
            "Use another folder with --out, or put the files back that were there."
        )
