"""`faceline labels tomek`: photos of different classes whose features are each other's nearest neighbour.

In: DATA and RUN/bundle. Out: tomek.csv with both photos of each link, and removals.csv, a table of corrections.
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
from pipeline.labels.suspects import select_tasks
from pipeline.training.packed_crops import training_pixels, with_crops

COLUMNS = {"task": pl.String, "link": pl.Int64, "path": pl.String, "person": pl.String, "given": pl.String,
           "distance": pl.Float64, "same_person": pl.Boolean, "remove": pl.Boolean}  # fmt: skip
REMOVALS = {"task": pl.String, "path": pl.String, "label": pl.String, "note": pl.String}


def tomek_stage(data: Path, run: Path, out: Path, task_names: Sequence[str], context: RunContext) -> None:
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
    table = pl.DataFrame([[getattr(row, name) for name in COLUMNS] for row in rows], schema=COLUMNS, orient="row")
    atomic.write_text(out / "tomek.csv", table.write_csv(float_precision=6))
    removals = [[row.task, row.path, "", f"Tomek link {row.link}"] for row in rows if row.remove]
    removals_table = pl.DataFrame(removals, schema=REMOVALS, orient="row")
    atomic.write_text(out / "removals.csv", removals_table.write_csv(quote_style="non_numeric"))
    counts = {task.name: _counts([row for row in rows if row.task == task.name]) for task in tasks}
    shown = [[name, *numbers.values()] for name, numbers in counts.items()]
    context.console.table("Tomek links", ["task", "links", "within a person", "proposed for removal"], shown)
    context.console.done(
        {"tomek": str(out / "tomek.csv"), "removals": str(out / "removals.csv"), "tasks": counts},
        text=f"Links: {out / 'tomek.csv'}",
        next_step=f"faceline labels apply {out / 'removals.csv'} {data}",
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of tomek.csv: one of the two photos of a link."""

    task: str
    link: int
    path: str
    person: str
    given: str
    distance: float
    same_person: bool
    remove: bool


def _find_links(
    task: Task, trained: TrainedNetwork, photos: Sequence[Photo], detection: Detection, context: RunContext
) -> Iterator[_Row]:
    """Yield two rows for each link of a task, the closest link first."""
    device = context.torch_device()
    labels = [photo.labels.get(task.name) for photo in photos]
    codes = np.array([UNLABELLED if label is None else task.encode(label) for label in labels], dtype=np.intp)
    pixels = training_pixels([detection.sources[photo.path] for photo in photos], trained.model, detection, context)
    features = compute_features(trained.network.to(device), trained.normalise, pixels, device)
    embedding = embedding_of(features.numpy(), seed=context.settings.seed)
    for number, link in enumerate(tomek_links(embedding, codes, [photo.person for photo in photos]), 1):
        for index in (link.first, link.second):
            photo, given = photos[index], task.classes[codes[index]]
            facts = (photo.name, photo.person, given, link.distance, link.same_person)
            yield _Row(task.name, number, *facts, remove=index == link.removed)


def _counts(rows: Sequence[_Row]) -> dict[str, int]:
    """The numbers of links, of links within a person, and of proposed removals; each link has two rows."""
    return {
        "links": len(rows) // 2,
        "same_person": sum(row.same_person for row in rows) // 2,
        "removals": sum(row.remove for row in rows),
    }
