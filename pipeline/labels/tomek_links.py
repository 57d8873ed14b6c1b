"""`faceline labels tomek`: photos of different classes whose features are each other's nearest neighbour.

In: DATA and RUN/bundle. Out: tomek.csv with both photos of each link, and removals.csv, a table of corrections.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from cache import atomic
from cache.errors import BundleError
from classify.evaluation.tomek import embedding_of, tomek_links
from classify.inference.bundle import TrainedNetwork, load_bundle
from classify.models.frozen_features import compute_features
from classify.tasks import Task
from pipeline.context import RunContext
from pipeline.detection.detect import Detection, detect_photos
from pipeline.intake.corrections import load_labelled
from pipeline.intake.photo import Photo
from pipeline.labels.suspects import given_codes, select_tasks
from pipeline.safe_csv import csv_text
from pipeline.training.packed_crops import training_pixels, with_crops

COLUMNS = {"task": pl.String, "link": pl.Int64, "path": pl.String, "person": pl.String, "given": pl.String,
           "distance": pl.Float64, "same_person": pl.Boolean, "remove": pl.Boolean}  # fmt: skip


def tomek_stage(
    data: Path, run: Path, out: Path, task_names: Sequence[str], context: RunContext, next_step: str = ""
) -> None:
    """`faceline labels tomek`: list the Tomek links of `data` by the features of the networks of `run`.

    Raises:
        BundleError: the bundle has no network for a task.
    """
    # Choose a network for each task; of an ensemble, the first.
    tasks = select_tasks(context.settings.task_list(), task_names)
    networks: dict[str, TrainedNetwork] = {}
    for trained in load_bundle(run / "bundle").networks:
        for task in trained.heads.tasks:
            networks.setdefault(task.name, trained)
    missing = [task.name for task in tasks if task.name not in networks]
    if missing:
        raise BundleError(f"{run / 'bundle'} has no network for {', '.join(missing)}; train again")
    dataset = load_labelled(data, context.settings).require_usable()
    detection = detect_photos(dataset.train, context)
    photos = with_crops(dataset.train, detection)
    rows = [row for task in tasks for row in _find_links(task, networks[task.name], photos, detection, context)]
    table = pl.DataFrame(rows, schema=COLUMNS, orient="row")
    atomic.write_text(out / "tomek.csv", csv_text(table, float_precision=6))
    note = pl.format("Tomek link {}", "link").alias("note")
    removals = table.filter("remove").select("task", "path", pl.lit("").alias("label"), note)
    atomic.write_text(out / "removals.csv", csv_text(removals, quote_text=True))
    counts = {task.name: _counts(table.filter(task=task.name)) for task in tasks}
    shown = [[name, *numbers.values()] for name, numbers in counts.items()]
    context.console.table("Tomek links", ["task", "links", "within a person", "proposed for removal"], shown)
    context.console.done(
        {"tomek": str(out / "tomek.csv"), "removals": str(out / "removals.csv"), "tasks": counts},
        text=f"Links: {out / 'tomek.csv'}",
        next_step=next_step,
    )


def _find_links(
    task: Task, trained: TrainedNetwork, photos: Sequence[Photo], detection: Detection, context: RunContext
) -> Iterator[Sequence[object]]:
    """Yield the two rows of tomek.csv for each link of a task, the closest link first."""
    device = context.torch_device()
    codes = given_codes(task, photos)
    pixels = training_pixels([detection.sources[photo.path] for photo in photos], trained.model, detection, context)
    features = compute_features(trained.network.to(device), trained.normalise, pixels, device)
    embedding = embedding_of(features.numpy(), seed=context.settings.seed)
    for number, link in enumerate(tomek_links(embedding, codes, [photo.person for photo in photos]), 1):
        for index in (link.first, link.second):
            photo, given = photos[index], task.classes[codes[index]]
            facts = (photo.name, photo.person, given, link.distance, link.same_person)
            yield (task.name, number, *facts, index == link.removed)


def _counts(rows: pl.DataFrame) -> dict[str, int]:
    """The numbers of links, of links within a person, and of proposed removals; each link has two rows."""
    within_a_person = len(rows.filter("same_person")) // 2
    return {"links": len(rows) // 2, "same_person": within_a_person, "removals": len(rows.filter("remove"))}
