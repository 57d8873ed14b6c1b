"""`faceline labels tomek`: photos of different classes that a network finds alike.

DATA + RUN/bundle -> DIR/tomek.csv, both photos of each link, and removals.csv, a table of corrections.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from cache import atomic
from cache.errors import BundleError
from classify.evaluation.tomek import embedding_of, tomek_links
from classify.inference.bundle import TrainedNetwork, load_bundle
from classify.models.frozen_features import compute_features
from classify.tasks import UNLABELLED, Task
from pipeline.context import RunContext
from pipeline.detection.detect import Detection, detect_photos
from pipeline.intake.corrections import load_labelled
from pipeline.intake.photo import Photo
from pipeline.labels.suspects import chosen_tasks
from pipeline.training.packed_crops import training_pixels, with_crops

COLUMNS = {"task": pl.String, "link": pl.Int64, "path": pl.String, "person": pl.String, "given": pl.String,
           "distance": pl.Float64, "same_person": pl.Boolean, "remove": pl.Boolean}  # fmt: skip
REMOVALS = {"task": pl.String, "path": pl.String, "label": pl.String, "note": pl.String}


def tomek_stage(data: Path, run: Path, out: Path, names: Sequence[str], context: RunContext) -> None:
    """`faceline labels tomek`."""
    tasks = chosen_tasks(context.settings.task_list(), names)
    # Where several networks vote on a task, the first one's features are looked at.
    networks = {t.name: one for one in reversed(load_bundle(run / "bundle").networks) for t in one.heads.tasks}
    if lacking := [task.name for task in tasks if task.name not in networks]:
        raise BundleError(f"{run / 'bundle'} tells nothing of {', '.join(lacking)}; train again")
    dataset = load_labelled(data, context.settings).require_usable()
    detection = detect_photos(dataset.train, context)
    photos = with_crops(dataset.train, detection)
    sides = [side for task in tasks for side in _links(task, networks[task.name], photos, detection, context)]
    table = pl.DataFrame([[getattr(one, name) for name in COLUMNS] for one in sides], schema=COLUMNS, orient="row")
    atomic.write_text(out / "tomek.csv", table.write_csv(float_precision=6))
    removals = [[one.task, one.path, "", f"Tomek link {one.link}"] for one in sides if one.remove]
    rows = pl.DataFrame(removals, schema=REMOVALS, orient="row")
    atomic.write_text(out / "removals.csv", rows.write_csv(quote_style="non_numeric"))
    counts = {task.name: _counts([one for one in sides if one.task == task.name]) for task in tasks}
    shown = [[name, *one.values()] for name, one in counts.items()]
    context.console.table("Tomek links", ["task", "links", "within a person", "proposed for removal"], shown)
    context.console.done(
        {"tomek": str(out / "tomek.csv"), "removals": str(out / "removals.csv"), "tasks": counts},
        text=f"Links: {out / 'tomek.csv'}",
        next_step=f"faceline labels apply {out / 'removals.csv'} {data}",
    )


@dataclass(frozen=True, slots=True)
class _Side:
    """One photo of a link: a row of tomek.csv."""

    task: str
    link: int
    path: str
    person: str
    given: str
    distance: float
    same_person: bool
    remove: bool


def _links(
    task: Task, one: TrainedNetwork, photos: Sequence[Photo], detection: Detection, context: RunContext
) -> Iterator[_Side]:
    device = context.torch_device()
    labels = [photo.labels.get(task.name) for photo in photos]
    codes = np.array([UNLABELLED if label is None else task.encode(label) for label in labels], dtype=np.intp)
    pixels = training_pixels([detection.sources[photo.path] for photo in photos], one.model, detection, context)
    features = compute_features(one.network.to(device), one.normalise, pixels, device)
    embedding = embedding_of(features.numpy(), seed=context.settings.seed)
    for number, link in enumerate(tomek_links(embedding, codes, [photo.person for photo in photos]), 1):
        for row in (link.first, link.second):
            photo, given = photos[row], task.classes[codes[row]]
            pair = photo.name, photo.person, given, link.distance, link.same_person
            yield _Side(task.name, number, *pair, remove=row == link.removed)


def _counts(sides: Sequence[_Side]) -> dict[str, int]:
    return {
        "links": len(sides) // 2,
        "same_person": sum(one.same_person for one in sides) // 2,
        "removals": sum(one.remove for one in sides),
    }
