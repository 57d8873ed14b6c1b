"""`faceline cache export` and `import`: crops for other programs, and from them or other caches."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import polars as pl

from cache import cache_folder
from cache.errors import UsageError
from cache.exchange import Outgoing, export_folder, export_shards, import_cache, import_export
from cache.layout import FORMAT_FILE, SPEC_FILE, check_format
from cache.location import with_home
from cache.remote import address, pull_all
from detect.fingerprints import crop_spec
from pipeline.console import counted
from pipeline.context import RunContext
from pipeline.detection.detect import Detection, detect_photos
from pipeline.intake.corrections import load_labelled
from pipeline.intake.photo import Photo
from pipeline.safe_csv import csv_text

LABELS = "labels.csv"


def export_crops(data: Path, out: Path, form: Literal["folder", "webdataset"], context: RunContext) -> None:
    """Write the crops of all readable photos, with their labels, into a new folder; UsageError if it exists."""
    if out.exists():
        raise UsageError(f"there is something at {out} already; name a new folder with --out")
    dataset = load_labelled(data, context.settings).require_usable()
    photos = [*dataset.train, *dataset.evaluation]
    detection = detect_photos(photos, context)
    kept = [photo for photo in photos if detection.entry(photo).outcome == "ok"]
    names = _crop_names(kept)
    spec = crop_spec(context.settings.detect, context.settings.crop)
    export = export_shards if form == "webdataset" else export_folder
    with context.console.progress("Exporting crops", len(kept)) as advance:
        count = export(out, spec, _outgoing_crops(kept, names, detection, advance))
    if form == "folder":
        tasks = context.settings.task_list()
        columns = {task.name: [_label(photo, task.name) for photo in kept] for task in tasks}
        table = pl.DataFrame({"path": names, "person": [photo.person for photo in kept], **columns})
        (out / LABELS).write_text(csv_text(table), encoding="utf-8")
    left_out = len(photos) - len(kept)
    unread = f"; {counted(left_out, 'photo')} could not be read" if left_out else ""
    text = f"{out}: {counted(count, 'crop')}{unread}."
    context.console.done({"out": str(out), "format": form, "crops": count, "left_out": left_out}, text=text)


def import_crops(source: str, context: RunContext) -> None:
    """Add the crops of another cache (a folder or URL) or of an export (a folder) to the cache.

    Raises:
        UsageError: `source` is neither.
    """
    folder = with_home(source)
    is_url = "://" in source
    if not is_url and not folder.is_dir():
        raise UsageError(f"there is no folder {source}; name a cache or what `cache export` wrote")
    if not is_url and (folder / SPEC_FILE).is_file() and not (folder / FORMAT_FILE).is_file():
        new = import_export(folder, context.cache)
    else:
        other = cache_folder(source)
        pull_all(other)
        if not (other / FORMAT_FILE).is_file():
            raise UsageError(f"{source} is neither a cache nor what `cache export` wrote: it has no {FORMAT_FILE}")
        check_format(other)
        new = import_cache(other, context.cache)
    location = address(context.cache)
    context.console.done({"new": new, "cache": location}, text=f"{location}: {counted(new, 'new photo')}.")


def _label(photo: Photo, task: str) -> str | None:
    return str(photo.labels[task]) if task in photo.labels else None


def _crop_names(photos: Sequence[Photo]) -> list[str]:
    """A file name for each crop: its photo's, made unique where two photos differ by their suffix only."""
    names: list[str] = []
    taken: set[str] = set()
    for photo in photos:
        stem = PurePosixPath("crops", photo.name).with_suffix("")
        name, number = f"{stem}.jpg", 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}.jpg"
        taken.add(name)
        names.append(name)
    return names


def _outgoing_crops(
    photos: Sequence[Photo], names: Sequence[str], detection: Detection, advance: Callable[[int], None]
) -> Iterator[Outgoing]:
    """Read the crops one by one, with what is known of their photos."""
    for photo, name in zip(photos, names, strict=True):
        source = detection.sources[photo.path]
        about = {"photo": photo.name, "person": photo.person, "labels": dict(photo.labels)}
        yield Outgoing(name, detection.store.crop(source), detection.store.read(source), about)
        advance(1)
