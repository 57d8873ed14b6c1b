"""Crops for other programs and from other caches: `faceline cache export` and `import`.

photos with labels -> their crops -> a folder or WebDataset; a folder or another cache -> this cache.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import polars as pl

from cache import cache_folder
from cache.errors import UsageError
from cache.exchange import Outgoing, export_folder, export_shards, import_cache, import_export
from cache.layout import FORMAT_FILE, SPEC_FILE, check_format
from cache.remote import address, pull_all
from detect.spec import crop_spec
from pipeline.console import Console, cell
from pipeline.context import RunContext
from pipeline.detection.detect import Detection, detect_photos
from pipeline.intake.corrections import load_labelled
from pipeline.intake.photo import Photo

LABELS = "labels.csv"


def export_stage(data: Path, out: Path, form: Literal["folder", "webdataset"], context: RunContext) -> None:
    """`faceline cache export`: the crops of all photos that could be read."""
    if out.exists():
        raise UsageError(f"there is something at {out} already; name a new folder with --out")
    dataset = load_labelled(data, context.settings).require_usable()
    photos = [*dataset.train, *dataset.evaluation]
    detection = detect_photos(photos, context)
    kept = [photo for photo in photos if detection.entry(photo).outcome == "ok"]
    names = _names(kept)
    with context.console.progress("Exporting crops", len(kept)) as advance:
        crops = _outgoing(kept, names, detection, advance)
        spec = crop_spec(context.settings.detect, context.settings.crop)
        count = (export_shards if form == "webdataset" else export_folder)(out, spec, crops)
    if form == "folder":
        tasks = context.settings.task_list()
        columns = {task.name: [_label(photo, task.name) for photo in kept] for task in tasks}
        table = {"path": names, "person": [photo.person for photo in kept], **columns}
        pl.DataFrame(table).write_csv(out / LABELS)
    left_out = len(photos) - len(kept)
    text = f"{out}: {cell(count)} crops" + (f"; {cell(left_out)} photos could not be read." if left_out else ".")
    context.console.done({"out": str(out), "format": form, "crops": count, "left_out": left_out}, text=text)


def import_stage(source: str, cache: Path, console: Console) -> None:
    """`faceline cache import`: another cache or an export."""
    folder = Path(source)
    if "://" not in source and not folder.is_dir():
        raise UsageError(f"there is no folder {source}; name a cache or what `cache export` wrote")
    if "://" not in source and (folder / SPEC_FILE).is_file() and not (folder / FORMAT_FILE).is_file():
        new = import_export(folder, cache)
    else:
        other = cache_folder(source)
        pull_all(other)
        if not (other / FORMAT_FILE).is_file():
            raise UsageError(f"{source} is neither a cache nor what `cache export` wrote: it has no {FORMAT_FILE}")
        check_format(other)
        new = import_cache(other, cache)
    console.done({"new": new, "cache": address(cache)}, text=f"{address(cache)}: {cell(new)} photos are new.")


def _label(photo: Photo, task: str) -> str | None:
    return str(photo.labels[task]) if task in photo.labels else None


def _names(photos: Sequence[Photo]) -> list[str]:
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


def _outgoing(
    photos: Sequence[Photo], names: Sequence[str], detection: Detection, advance: Callable[[int], None]
) -> Iterator[Outgoing]:
    for photo, name in zip(photos, names, strict=True):
        source = detection.sources[photo.path]
        about = {"photo": photo.name, "person": photo.person, "labels": dict(photo.labels)}
        yield Outgoing(name, detection.store.crop(source), detection.store.read(source), about)
        advance(1)
