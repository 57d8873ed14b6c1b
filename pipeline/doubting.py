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
from classify.inputs import decode_crop
from classify.suspects import Suspects, find_suspects
from classify.tasks import UNLABELLED, Task
from detect.spec import crop_spec
from pipeline.chain import usable
from pipeline.correcting import correct, load_labelled
from pipeline.datasets import load_data
from pipeline.job import Job
from pipeline.out_of_fold import OutOfFold, read_out_of_fold
from pipeline.pages import page_template
from pipeline.sheets import encode_image, fitted

COLUMNS = {"task": pl.String, "rank": pl.Int64, "path": pl.String, "person": pl.String, "given": pl.String,
           "suggested": pl.String, "score": pl.Float64, "crop": pl.String}  # fmt: skip
SHOWN_CHANGES = 20


def suspects_stage(data: Path, runs: Sequence[Path], out: Path, names: Sequence[str], top: int, job: Job) -> None:
    """`faceline labels suspects`."""
    tasks = chosen_tasks(job.settings.task_list(), names)
    dataset = usable(load_labelled(data, job.settings))
    known = read_out_of_fold(runs, dataset.train, tasks)
    if known.unknown:
        job.show.warn(
            f"{known.unknown:,} of {len(dataset.train):,} labelled photos were not held out, so nothing is known of "
            "them; train with --set split.held_out=all, or add runs that held out the other folds with --run"
        )
    found = {task: _suspects_of(task, known) for task in tasks}
    crops = _copy_crops(found, known, out, top, job)
    rows = [row for task, suspects in found.items() for row in _rows(task, suspects, known, crops)]
    table = pl.DataFrame([_cells(row) for row in rows], schema=COLUMNS)
    atomic.write_text(out / "suspects.csv", table.write_csv(float_precision=6))
    sections = [_section(task, suspects, rows, top, out) for task, suspects in found.items()]
    page = page_template("suspects.html.j2").render(
        title=f"Doubtful labels of {data.resolve().name}", sections=sections
    )
    atomic.write_text(out / "suspects.html", page)
    counts = [[s["task"], s["total"], s["unit"]] for s in sections]
    job.show.table("Doubtful labels", ["task", "suspects", "of"], counts)
    told = {s["task"]: {key: s[key] for key in ("total", "unit")} for s in sections}
    result = {"suspects": str(out / "suspects.csv"), "page": str(out / "suspects.html"), "photos": len(known.photos),
              "unknown": known.unknown, "tasks": told}  # fmt: skip
    job.show.done(
        result, text=f"Look at them: {out / 'suspects.html'}", next_step=f"faceline labels apply CORRECTIONS.csv {data}"
    )


def apply_stage(file: str, data: Path, job: Job) -> None:
    """`faceline labels apply`: what a table of corrections changes."""
    dataset = usable(load_data(data, job.settings.task_list(), job.settings.data.columns))
    corrected, changes = correct(dataset, file, job.settings)
    [done] = corrected.corrections
    rows = [[c.photo, c.task, _shown(c.before), _shown(c.after)] for c in changes[:SHOWN_CHANGES]]
    if rows:
        more = f", the first {len(rows)} of {len(changes):,}" if len(rows) < len(changes) else ""
        job.show.table(f"Changes{more}", ["photo", "task", "given", "corrected"], rows)
    listed = [{"path": c.photo, "task": c.task, "given": c.before, "corrected": c.after} for c in changes]
    text = f"{file}: {done.text()}. No file of {data} was touched."
    job.show.done(
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


def _copy_crops(found: Mapping[Task, Suspects], known: OutOfFold, out: Path, top: int, job: Job) -> dict[str, str]:
    """Source id -> the crop's file in `out`, for the photos of the first ranks."""
    store = CropStore(job.cache, crop_spec(job.settings.detect, job.settings.crop))
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
        job.show.warn(
            f"{lost:,} crops are not in the cache {job.cache}, so the list has no pictures of them; use --cache"
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
