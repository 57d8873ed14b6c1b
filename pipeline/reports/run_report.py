"""The report of a run: one HTML file that needs nothing else.

RUN/ (run.json, data.json, metrics.jsonl, validation.csv, predictions.csv) + the cache -> RUN/report.html.
"""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cache import atomic
from cache.errors import BundleError, CacheError
from cache.store import CropStore
from classify.evaluation.metrics import Score, class_table, score
from classify.preprocessing import decode_crop
from classify.tasks import UNLABELLED, Task, joint_names
from detect.spec import crop_spec
from pipeline.evaluation.subgroups import group_table
from pipeline.evaluation.validation_table import read_validation
from pipeline.reports.contact_sheets import contact_sheet, encode_image
from pipeline.reports.html import page_template
from pipeline.settings import Settings, load_settings

WORST = 40
WORST_GROUPS = 15
LINE_COLOURS = ("#3366cc", "#dd6622", "#228855")


def write_report(run: Path, cache: Path) -> Path:
    """Write RUN/report.html; returns its path.

    Raises:
        BundleError: the folder holds no finished run.
    """
    if not (run / "bundle" / "bundle.json").is_file():
        raise BundleError(f"{run} holds no finished run: there is no bundle/bundle.json in it")
    settings = load_settings(run / "config.yaml")
    tasks = settings.task_list()
    record, data = _json(run / "run.json"), _json(run / "data.json")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    page = page_template("report.html.j2").render(
        title=f"faceline: {run.resolve().name}",
        record=record,
        data=data,
        curves=_curves(lines, tasks),
        sections=_sections(run, tasks),
        calibration=_json(run / "calibration.json") if (run / "calibration.json").is_file() else {},
        groups=_groups(run, tasks),
        worst=_worst_sheet(run, tasks, settings, cache),
        predicted=_predicted(run, tasks),
        config=settings.as_yaml(),
    )
    path = run / "report.html"
    atomic.write_text(path, page)
    return path


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _curves(lines: Sequence[dict[str, Any]], tasks: Sequence[Task]) -> list[str]:
    """One drawing per task: losses on the left axis, macro-F1 on the right; each network has its lines."""
    drawings: list[str] = []
    for task in tasks:
        networks: dict[str, list[dict[str, Any]]] = {}
        for line in lines:
            if line["task"] == task.name:
                networks.setdefault(line.get("network", ""), []).append(line)
        figure = Figure(figsize=(4.2, 2.6), layout="constrained")
        axis = figure.subplots()
        for key, label, colour in (("train_loss", "training loss", 0), ("loss", "held-out loss", 1)):
            _plot(axis, networks, key, label, LINE_COLOURS[colour])
        axis.set(title=task.name, xlabel="epoch", ylabel="loss")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        if any("macro_f1" in line for own in networks.values() for line in own):
            right = axis.twinx()
            _plot(right, networks, "macro_f1", "macro-F1", LINE_COLOURS[2])
            right.set(ylabel="macro-F1", ylim=(0, 1))
        figure.legend(loc="outside lower center", ncols=3, fontsize="small", frameon=False)
        drawings.append(_svg(figure))
    return drawings


def _plot(axis: Axes, networks: Mapping[str, Sequence[dict[str, Any]]], key: str, label: str, colour: str) -> None:
    """One line per network, all of one colour; a fold without labels has none of some figures."""
    for own in networks.values():
        told = [(line["epoch"], line[key]) for line in own if key in line]
        if told:
            axis.plot(*zip(*told, strict=True), color=colour, label=label, marker=".")
            label = "_nolegend_"


def _sections(run: Path, tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Per task and for the joint class: score, per-class table and confusion matrix on the held-out fold."""
    path = run / "validation.csv"
    if not path.is_file():
        return []
    held_out = read_validation(path, tasks)
    names = {"joint": joint_names(tasks), **{task.name: list(task.classes) for task in tasks}}
    sections: list[dict[str, Any]] = []
    for name, (truth, told) in held_out.codes.items():
        labelled = truth != UNLABELLED
        if not labelled.any():
            continue
        people = [person for person, there in zip(held_out.people, labelled, strict=True) if there]
        one = score(truth[labelled], told[labelled], people, len(names[name]))
        rows = class_table(truth[labelled], told[labelled], names[name])
        sections.append({"name": name, "score": one, "classes": rows, "confusion": _confusion(one, names[name])})
    return sections


def _confusion(one: Score, names: Sequence[str]) -> str:
    """The confusion matrix as a picture: rows are truths, shares of the row as shades, counts as numbers."""
    counts = one.confusion[:, : len(names)]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.4 + 0.42 * len(names)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axis = figure.subplots()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    small = 7 if len(names) > 6 else 9
    axis.set_xticks(range(len(names)), names, rotation=90 if len(names) > 3 else 0, fontsize=small)
    axis.set_yticks(range(len(names)), names, fontsize=small)
    axis.set(xlabel="told", ylabel="true")
    for row, column in np.ndindex(counts.shape):
        if counts[row, column]:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=small)
    return _svg(figure)


def _groups(run: Path, tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """The groups that are told worst; all of them are in RUN/groups.csv, which is written here."""
    path = run / "validation.csv"
    if not path.is_file():
        return []
    table = group_table(read_validation(path, tasks), tasks)
    atomic.write_text(run / "groups.csv", table.write_csv(float_precision=4))
    return table.head(WORST_GROUPS).to_dicts()


def _worst_sheet(run: Path, tasks: Sequence[Task], settings: Settings, cache: Path) -> bytes | None:
    """The held-out photos whose true classes were given the least probability, as pictures."""
    path = run / "validation.csv"
    if not path.is_file():
        return None
    table = read_validation(path, tasks).table
    found: list[tuple[float, str, str]] = []
    for row in table.iter_rows(named=True):
        for task in tasks:
            code = row[f"true_{task.name}"]
            if code != UNLABELLED and row[task.name] != task.classes[code]:
                likelihood = row[f"p_{task.name}_{task.classes[code]}"]
                found.append((likelihood, row["source"], f"{task.classes[code]}: {row[task.name]}"))
    found.sort()
    try:
        store = CropStore(cache, crop_spec(settings.detect, settings.crop))
        pictures = [decode_crop(store.read(source)) for _, source, _ in found[:WORST]]
    except CacheError:
        return None  # another cache than the run's: the report goes without pictures and says so
    if not pictures:
        return None
    return encode_image(contact_sheet(pictures, [caption for *_, caption in found[:WORST]], columns=10))


def _predicted(run: Path, tasks: Sequence[Task]) -> dict[str, Any]:
    """Counts of predictions.csv: per status, and per class of every task."""
    path = run / "predictions.csv"
    if not path.is_file():
        return {}
    table = pl.read_csv(path, schema_overrides={"path": pl.String})
    classes = {task.name: [(name, int((table[task.name] == name).sum())) for name in task.classes] for task in tasks}
    steps = table["found_by"].drop_nulls().value_counts(sort=True).rows()
    return {
        "photos": len(table),
        "status": table["status"].value_counts(sort=True).rows(),
        "steps": steps,
        "classes": classes,
    }


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
