"""`faceline labels suspects` and `apply`: doubtful labels on a list to look at, and corrections tried on a data set.

DATA + the runs that held its photos out -> DIR/suspects.csv, crops/ and suspects.html.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cache import atomic
from cache.errors import CacheError, UsageError
from cache.store import CropStore
from classify.evaluation.suspect_labels import Suspects, find_suspects
from classify.preprocessing import decode_crop
from classify.tasks import UNLABELLED, Task
from detect.spec import crop_spec
from pipeline.context import RunContext
from pipeline.evaluation.out_of_fold import OutOfFold, read_out_of_fold
from pipeline.intake.corrections import correct, load_labelled
from pipeline.intake.load import load_data
from pipeline.reports.contact_sheets import encode_image, fitted
from pipeline.reports.html import page_template

COLUMNS = {"task": pl.String, "rank": pl.Int64, "path": pl.String, "person": pl.String, "given": pl.String,
           "suggested": pl.String, "score": pl.Float64, "crop": pl.String}  # fmt: skip
SHOWN_CHANGES = 20


def suspects_stage(
    data: Path, runs: Sequence[Path], out: Path, names: Sequence[str], top: int, context: RunContext
) -> None:
    """`faceline labels suspects`."""
    tasks = chosen_tasks(context.settings.task_list(), names)
    dataset = load_labelled(data, context.settings).require_usable()
    known = read_out_of_fold(runs, dataset.train, tasks)
    if known.unknown:
        context.console.warn(
            f"{known.unknown:,} of {len(dataset.train):,} labelled photos were not held out, so nothing is known of "
            "them; train with --set split.held_out=all, or add runs that held out the other folds with --run"
        )
    found = {task: _suspects_of(task, known) for task in tasks}
    crops = _copy_crops(found, known, out, top, context)
    rows = [row for task, suspects in found.items() for row in _rows(task, suspects, known, crops)]
    table = pl.DataFrame([_cells(row) for row in rows], schema=COLUMNS)
    atomic.write_text(out / "suspects.csv", table.write_csv(float_precision=6))
    sections = [_section(task, suspects, rows, top, out) for task, suspects in found.items()]
    page = page_template("suspects.html.j2").render(
        title=f"Doubtful labels of {data.resolve().name}", sections=sections
    )
    atomic.write_text(out / "suspects.html", page)
    counts = [[s["task"], s["total"], s["unit"]] for s in sections]
    context.console.table("Doubtful labels", ["task", "suspects", "of"], counts)
    told = {s["task"]: {key: s[key] for key in ("total", "unit")} for s in sections}
    result = {"suspects": str(out / "suspects.csv"), "page": str(out / "suspects.html"), "photos": len(known.photos),
              "unknown": known.unknown, "tasks": told}  # fmt: skip
    context.console.done(
        result, text=f"Look at them: {out / 'suspects.html'}", next_step=f"faceline labels apply CORRECTIONS.csv {data}"
    )


def apply_stage(file: str, data: Path, context: RunContext) -> None:
    """`faceline labels apply`: what a table of corrections changes."""
    dataset = load_data(data, context.settings.task_list(), context.settings.data.columns).require_usable()
    corrected, changes = correct(dataset, file, context.settings)
    [done] = corrected.corrections
    rows = [[c.photo, c.task, _shown(c.before), _shown(c.after)] for c in changes[:SHOWN_CHANGES]]
    if rows:
        more = f", the first {len(rows)} of {len(changes):,}" if len(rows) < len(changes) else ""
        context.console.table(f"Changes{more}", ["photo", "task", "given", "corrected"], rows)
    listed = [{"path": c.photo, "task": c.task, "given": c.before, "corrected": c.after} for c in changes]
    text = f"{file}: {done.text()}. No file of {data} was touched."
    context.console.done(
        {**done.as_json(), "changes": listed},
        text=text,
        next_step=f"faceline train {data} --set 'data.corrections=[{file}]'",
    )


def chosen_tasks(tasks: Sequence[Task], names: Sequence[str]) -> list[Task]:
    """The tasks that --task names; all when it names none.

    Raises:
        UsageError: there is no such task.
    """
    known = {task.name: task for task in tasks}
    for name in names:
        if name not in known:
            raise UsageError(f"--task {name}: the run has no such task; it has {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)] if names else list(tasks)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of suspects.csv, and the label as a number where it is one."""

    task: str
    rank: int
    path: str
    person: str
    given: str
    suggested: str
    score: float
    crop: str | None
    number: str


def _cells(row: _Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in COLUMNS}


def _suspects_of(task: Task, known: OutOfFold) -> Suspects:
    labels = [photo.labels.get(task.name) for photo in known.photos]
    given = np.array([UNLABELLED if label is None else task.encode(label) for label in labels], dtype=np.intp)
    return find_suspects(known.probabilities[task.name], given, [photo.person for photo in known.photos])


def _rows(task: Task, suspects: Suspects, known: OutOfFold, crops: Mapping[str, str]) -> Iterator[_Row]:
    for rank, suspect in enumerate(suspects.ranked, 1):
        for index, code in zip(suspect.rows, suspect.suggested, strict=True):
            photo = known.photos[index]
            label = photo.labels[task.name]
            number = f"{task.number(label):g}" if task.edges else ""
            given, suggested = task.classes[task.encode(label)], task.classes[code]
            crop = crops.get(known.sources[index])
            yield _Row(task.name, rank, photo.name, photo.person, given, suggested, suspect.score, crop, number)


def _copy_crops(
    found: Mapping[Task, Suspects], known: OutOfFold, out: Path, top: int, context: RunContext
) -> dict[str, str]:
    """Source id -> the crop's file in `out`, for the photos of the first ranks."""
    store = CropStore(context.cache, crop_spec(context.settings.detect, context.settings.crop))
    shown = {row for suspects in found.values() for one in suspects.ranked[:top] for row in one.rows}
    crops: dict[str, str] = {}
    lost = 0
    for source in dict.fromkeys(known.sources[row] for row in sorted(shown)):
        try:
            content = store.read(source)
        except CacheError:
            lost += 1
            continue
        crops[source] = f"crops/{source[:20]}.jpg"
        atomic.write_bytes(out / crops[source], content)
    if lost:
        context.console.warn(
            f"{lost:,} crops are not in the cache {context.cache}, so the list has no pictures of them; use --cache"
        )
    return crops


def _section(task: Task, suspects: Suspects, rows: Sequence[_Row], top: int, out: Path) -> dict[str, Any]:
    """What the page shows of one task."""
    shown: dict[int, dict[str, Any]] = {}
    for row in rows:
        if row.task == task.name and row.rank <= top:
            one = shown.setdefault(row.rank, {"rank": row.rank, "person": row.person, "score": row.score, "photos": []})
            crop = (out / row.crop).read_bytes() if row.crop else b""
            thumbnail = encode_image(fitted(decode_crop(crop))) if crop else b""
            photo = {"path": row.path, "given": row.given, "number": row.number, "suggested": row.suggested}
            one["photos"].append({**photo, "thumbnail": thumbnail})
    unit = "people" if suspects.by_person else "photos or swaps of two"
    return {"task": task.name, "total": len(suspects.ranked), "unit": unit,
            "suspects": list(shown.values())}  # fmt: skip


def _shown(label: str | float | None) -> str:
    return "" if label is None else label if isinstance(label, str) else f"{label:g}"
