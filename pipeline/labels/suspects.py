"""`faceline labels suspects` and `apply`: a list of doubtful labels to look at, and a trial run of corrections.

In: DATA and the runs that held its photos out. Out: suspects.csv, crops/ and suspects.html in a folder.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache import atomic
from cache.errors import CacheError, UsageError
from cache.store import CropStore
from classify.evaluation.suspect_labels import Suspects, find_suspects
from classify.preprocessing import decode_crop
from classify.tasks import UNLABELLED, Task
from detect.fingerprints import crop_spec
from pipeline.console import counted
from pipeline.context import RunContext
from pipeline.detection.detect import source_ids
from pipeline.evaluation.out_of_fold import OutOfFold, read_out_of_fold
from pipeline.intake.corrections import apply_corrections, load_labelled
from pipeline.intake.load import load_data
from pipeline.intake.photo import Photo
from pipeline.reports.contact_sheets import encode_image, resize_into_cell
from pipeline.reports.html import page_template
from pipeline.safe_csv import csv_text

COLUMNS = {"task": pl.String, "rank": pl.Int64, "path": pl.String, "person": pl.String, "given": pl.String,
           "suggested": pl.String, "score": pl.Float64, "crop": pl.String, "number": pl.String}  # fmt: skip
SHOWN_CHANGES = 20


def suspects_stage(
    data: Path,
    runs: Sequence[Path],
    out: Path,
    task_names: Sequence[str],
    top: int,
    context: RunContext,
    next_step: str = "",
) -> None:
    """`faceline labels suspects`: rank the labels that are contradicted by networks not trained on them.

    `runs` held out folds of `data`; the first `top` ranks of each task come with their crops.
    """
    tasks = select_tasks(context.settings.task_list(), task_names)
    dataset = load_labelled(data, context.settings).require_usable()
    sources = source_ids([photo.path for photo in dataset.train], context)
    held_out = read_out_of_fold(runs, dataset.train, tasks, sources)
    if held_out.replaced:
        context.console.warn(
            f"{len(held_out.replaced):,} labelled photos are no longer the files that were held out, such as "
            f"{held_out.replaced[0]}, so nothing is known of them; train again into another folder"
        )
    if not_held_out := held_out.unknown - len(held_out.replaced):
        context.console.warn(
            f"{not_held_out:,} of {len(dataset.train):,} labelled photos were not held out, so nothing is known of "
            "them; train with --set split.held_out=all, or add runs that held out the other folds with --run"
        )
    suspects_by_task = {task: suspects_of(task, held_out) for task in tasks}
    # Write the table, the crops and the page.
    crops = _copy_crops(suspects_by_task, held_out, out, top, context)
    rows = [row for task, suspects in suspects_by_task.items() for row in _rows(task, suspects, held_out, crops)]
    table = pl.DataFrame(rows, schema=COLUMNS, orient="row")
    atomic.write_text(out / "suspects.csv", csv_text(table.drop("number"), float_precision=6))
    sections = [_section(task, suspects, table, top, out) for task, suspects in suspects_by_task.items()]
    title = f"Doubtful labels of {data.resolve().name}"
    review = shlex.join(["faceline", "review", *map(str, runs)])
    page = page_template("suspects.html.j2").render(title=title, sections=sections, review=review, pictures=None)
    atomic.write_text(out / "suspects.html", page.encode("utf-8", "backslashreplace").decode())
    counts = [[section["task"], section["total"], section["unit"]] for section in sections]
    context.console.table("Doubtful labels", ["task", "suspects", "of"], counts)
    files = {"suspects": str(out / "suspects.csv"), "page": str(out / "suspects.html")}
    totals = {task: {"total": total, "unit": unit} for task, total, unit in counts}
    result = {**files, "photos": len(held_out.photos), "unknown": held_out.unknown, "tasks": totals}
    context.console.done(result, text=f"Look at them: {out / 'suspects.html'}", next_step=next_step)


def apply_stage(file: str, data: Path, context: RunContext, next_step: str = "") -> None:
    """`faceline labels apply`: show what a table of corrections changes; no file is changed."""
    dataset = load_data(data, context.settings.task_list(), context.settings.data).require_usable()
    corrected, changes = apply_corrections(dataset, file, context.settings)
    [applied] = corrected.corrections
    for note in corrected.notes[len(dataset.notes) :]:
        context.console.warn(note)
    shown = changes[:SHOWN_CHANGES]
    if shown:
        more = f", the first {len(shown)} of {len(changes):,}" if len(shown) < len(changes) else ""
        rows = [[c.photo, c.task, _label_text(c.before), _label_text(c.after)] for c in shown]
        context.console.table(f"Changes{more}", ["photo", "task", "given", "corrected"], rows)
    listed = [{"path": c.photo, "task": c.task, "given": c.before, "corrected": c.after} for c in changes]
    context.console.done(
        {**applied.as_json(), "changes": listed},
        text=f"{file}: {applied.text()}. No file of {data} was touched.",
        next_step=next_step,
    )


def select_tasks(tasks: Sequence[Task], names: Sequence[str]) -> list[Task]:
    """The tasks that --task names; all of them if it names none.

    Raises:
        UsageError: there is no such task.
    """
    by_name = {task.name: task for task in tasks}
    for name in names:
        if name not in by_name:
            raise UsageError(f"--task {name}: the run has no such task; it has {', '.join(by_name)}")
    return [by_name[name] for name in dict.fromkeys(names)] if names else list(tasks)


def given_codes(task: Task, photos: Sequence[Photo]) -> NDArray[np.intp]:
    """The class indices (N,) of the labels of photos."""
    labels = [photo.labels.get(task.name) for photo in photos]
    return np.array([UNLABELLED if label is None else task.encode(label) for label in labels], dtype=np.intp)


def suspects_of(task: Task, held_out: OutOfFold) -> Suspects:
    """The doubtful labels of one task.

    Raises:
        UsageError: cleanlab is not installed.
    """
    people = [photo.person for photo in held_out.photos]
    return find_suspects(held_out.probabilities[task.name], given_codes(task, held_out.photos), people)


def _rows(task: Task, suspects: Suspects, held_out: OutOfFold, crops: Mapping[str, str]) -> Iterator[Sequence[object]]:
    """Yield a row of `COLUMNS` for each photo of each suspect, by rank; `crops` maps source ids to files."""
    for rank, suspect in enumerate(suspects.ranked, 1):
        for index, code in zip(suspect.rows, suspect.suggested, strict=True):
            photo = held_out.photos[index]
            label = photo.labels[task.name]
            number = f"{task.number(label):g}" if task.edges else ""
            given, suggested = task.classes[task.encode(label)], task.classes[code]
            crop = crops.get(held_out.sources[index])
            yield task.name, rank, photo.name, photo.person, given, suggested, suspect.score, crop, number


def _copy_crops(
    suspects_by_task: Mapping[Task, Suspects], held_out: OutOfFold, out: Path, top: int, context: RunContext
) -> dict[str, str]:
    """Copy the crops of the first `top` ranks to `out`; return source id -> the crop's file in `out`."""
    store = CropStore(context.cache, crop_spec(context.settings.detect, context.settings.crop))
    shown = {row for suspects in suspects_by_task.values() for suspect in suspects.ranked[:top] for row in suspect.rows}
    crops: dict[str, str] = {}
    missing = 0
    for source in dict.fromkeys(held_out.sources[row] for row in sorted(shown)):
        try:
            content = store.read(source)
        except CacheError:
            missing += 1
            continue
        crops[source] = f"crops/{source[:20]}.jpg"
        atomic.write_bytes(out / crops[source], content)
    if missing:
        context.console.warn(
            f"the list lacks the pictures of {counted(missing, 'crop')}: not in the cache {context.cache}; use --cache"
        )
    return crops


def _section(task: Task, suspects: Suspects, table: pl.DataFrame, top: int, out: Path) -> dict[str, Any]:
    """What the page shows of one task."""
    shown: dict[int, dict[str, Any]] = {}
    for row in table.filter(pl.col("rank") <= top, task=task.name).iter_rows(named=True):
        suspect = {"rank": row["rank"], "person": row["person"], "score": row["score"], "photos": []}
        crop = row["crop"]
        thumbnail = encode_image(resize_into_cell(decode_crop((out / crop).read_bytes()))) if crop else b""
        photo = {**row, "thumbnail": thumbnail, "file": PurePosixPath(row["path"]).name}
        shown.setdefault(row["rank"], suspect)["photos"].append(photo)
    unit = "people" if suspects.by_person else "photos or swaps of two"
    single = max((len(suspect["photos"]) for suspect in shown.values()), default=0) <= 2
    facts = {"task": task.name, "total": len(suspects.ranked), "unit": unit, "single": single}
    return {**facts, "suspects": list(shown.values())}


def _label_text(label: str | float | None) -> str:
    """A label as a table shows it; empty if there is none."""
    return "" if label is None else label if isinstance(label, str) else f"{label:g}"
