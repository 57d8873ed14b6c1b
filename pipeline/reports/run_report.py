"""The report of a run: one HTML file that needs nothing else.

RUN/ (run.json, data.json, metrics.jsonl, validation.csv, predictions.csv) + the cache -> RUN/report.html, groups.csv.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cache import atomic
from cache.errors import BundleError, CacheError, UsageError
from cache.store import CropStore
from classify.evaluation.metrics import class_table, score
from classify.preprocessing import decode_crop
from classify.tasks import UNLABELLED, Task, joint_names
from detect.fingerprints import crop_spec
from pipeline.evaluation.subgroups import group_table
from pipeline.evaluation.validation_table import Validation, probability_columns, read_typed, read_validation
from pipeline.ledger import LEDGER
from pipeline.reports.contact_sheets import contact_sheet, encode_image
from pipeline.reports.html import page_template, svg_element
from pipeline.reports.leaderboard import leaderboard
from pipeline.run_state import is_run, read_run
from pipeline.safe_csv import csv_text
from pipeline.settings import Settings, load_settings
from pipeline.training.curves import SIZE, draw_task

Read = TypeVar("Read")

WORST_MISTAKES = 40
WORST_GROUPS = 15


def write_report(run: Path, cache: Path, ledger: Path = LEDGER) -> Path:
    """Write RUN/report.html, and RUN/groups.csv where people were held out; returns the page's path.

    Of a run that is unfinished or damaged, the page says so, and shows what is there.

    Args:
        run: a run in any state.
        cache: the crops' folder.
        ledger: of submissions, whose scores are drawn against the validation scores.

    Raises:
        BundleError: the folder holds no run, or one without its settings.
    """
    if not is_run(run):
        raise BundleError(f"{run} holds no finished run, and no unfinished one")

    # Read the run
    state = read_run(run)
    try:
        settings = load_settings(run / "config.yaml")
    except UsageError as error:
        raise BundleError(f"{state.describe()}. Without its settings, there is no report: {error}") from None
    tasks = settings.task_list()
    problems = [] if state.status == "finished" else [state.describe()]
    validation = _read_table(run / "validation.csv", partial(read_validation, tasks=tasks), problems)
    predicted = _read_table(run / "predictions.csv", partial(_count_predictions, tasks=tasks), problems)

    # Score the held-out people, if there are any
    sections: list[dict[str, Any]] = []
    groups: list[dict[str, Any]] = []
    worst = None
    if validation is not None:
        sections = _score_sections(validation, tasks)
        table = group_table(validation, tasks)
        atomic.write_text(run / "groups.csv", csv_text(table, float_precision=4))
        groups = table.head(WORST_GROUPS).to_dicts()
        worst = _worst_mistakes(validation, tasks, settings, cache)

    # Write the page
    page = page_template("report.html.j2").render(
        title=f"faceline: {run.resolve().name}",
        problems=problems,
        tasks=[task.name for task in tasks],
        record=state.record,
        data=state.data,
        curves=_draw_curves(state.epochs, tasks),
        sections=sections,
        note=settings.held_out_note,
        calibration=_read_table(run / "calibration.json", _read_json, problems) or {},
        groups=groups,
        worst=worst,
        submissions=leaderboard(ledger, run),
        predicted=predicted or {},
        config=settings.as_yaml(),
    )
    path = run / "report.html"
    atomic.write_text(path, page)
    return path


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _read_table(path: Path, read: Callable[[Path], Read], problems: list[str]) -> Read | None:
    """What `read` returns for a file; None if there is none, or with a problem if it can't be read."""
    if not path.is_file():
        return None
    try:
        return read(path)
    except (pl.exceptions.PolarsError, OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).split("\n")[0]
        problems.append(f"{path} is damaged ({reason}), so what it holds is not shown here")
        return None


def _draw_curves(epochs: Sequence[Mapping[str, Any]], tasks: Sequence[Task]) -> list[str]:
    """One drawing per task."""
    drawings: list[str] = []
    for task in tasks:
        figure = Figure(figsize=SIZE, layout="constrained")
        draw_task(figure, epochs, task.name)
        drawings.append(svg_element(figure))
    return drawings


def _score_sections(validation: Validation, tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Score, per-class table and confusion matrix of the joint class and of each task, where photos are labelled."""
    names = {"joint": joint_names(tasks), **{task.name: list(task.classes) for task in tasks}}
    people = np.array(validation.people)
    sections: list[dict[str, Any]] = []
    for name, (true_codes, predicted_codes) in validation.codes.items():
        is_labelled = true_codes != UNLABELLED
        if not is_labelled.any():
            continue
        true_codes, predicted_codes = true_codes[is_labelled], predicted_codes[is_labelled]  # noqa: PLW2901
        scored = score(true_codes, predicted_codes, people[is_labelled].tolist(), len(names[name]))
        rows = class_table(true_codes, predicted_codes, names[name])
        drawing = _draw_confusion(scored.confusion[:, : len(names[name])], names[name])
        sections.append({"name": name, "score": scored, "classes": rows, "confusion": drawing})
    return sections


def _draw_confusion(counts: NDArray[np.intp], names: Sequence[str]) -> str:
    """Draw a confusion matrix, (C, C) true x predicted: counts as numbers, shares of the true class as shades."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.4 + 0.42 * len(names)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axis = figure.subplots()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    small = 7 if len(names) > 6 else 9
    axis.set_xticks(range(len(names)), names, rotation=90 if len(names) > 3 else 0, fontsize=small)
    axis.set_yticks(range(len(names)), names, fontsize=small)
    axis.set(xlabel="predicted", ylabel="true")
    for row, column in np.ndindex(counts.shape):
        if counts[row, column]:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=small)
    return svg_element(figure)


def _worst_mistakes(validation: Validation, tasks: Sequence[Task], settings: Settings, cache: Path) -> bytes | None:
    """A contact sheet, a JPEG file, of the held-out crops whose true class got the lowest probability."""
    mistakes: list[tuple[float, str, str]] = []
    for row in validation.table.iter_rows(named=True):
        for task in tasks:
            code = row[f"true_{task.name}"]
            if code != UNLABELLED and row[task.name] != task.classes[code]:
                probability = row[probability_columns(task)[code]]
                mistakes.append((probability, row["source"], f"{task.classes[code]}: {row[task.name]}"))
    worst = sorted(mistakes)[:WORST_MISTAKES]
    try:
        store = CropStore(cache, crop_spec(settings.detect, settings.crop))
        pictures = [decode_crop(store.read(source)) for _, source, _ in worst]
    except CacheError:
        return None  # not the cache that the run used: the report has no pictures and says so
    if not pictures:
        return None
    return encode_image(contact_sheet(pictures, [caption for *_, caption in worst], columns=10))


def _count_predictions(path: Path, tasks: Sequence[Task]) -> dict[str, Any]:
    """Count the photos of predictions.csv: per status, detection step and class of each task."""
    table = read_typed(path, tasks)
    classes = {task.name: [(name, int((table[task.name] == name).sum())) for name in task.classes] for task in tasks}
    return {
        "photos": len(table),
        "status": table["status"].value_counts(sort=True).rows(),
        "steps": table["found_by"].drop_nulls().value_counts(sort=True).rows(),
        "classes": classes,
    }
