"""Learning curves: losses and macro-F1 by epoch, a drawing per task.

In: the lines of metrics.jsonl. Out: RUN/curves.png, current after every epoch, and the drawings of the report.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from cache import atomic
from pipeline.intake.own_files import marked

LINE_COLOURS = ("#3366cc", "#dd6622", "#228855")  # training loss, held-out loss, macro-F1
SIZE = (4.2, 2.6)  # inches, of each task's drawing
DPI = 100


def draw_task(figure: Figure | SubFigure, lines: Sequence[Mapping[str, Any]], task: str) -> None:
    """Draw losses on the left axis, macro-F1 on the right, and a line of each per network."""
    networks: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        if line["task"] == task:
            networks.setdefault(line.get("network", ""), []).append(line)
    axis = figure.subplots()
    _plot(axis, networks, "train_loss", "training loss", LINE_COLOURS[0])
    _plot(axis, networks, "loss", "held-out loss", LINE_COLOURS[1])
    axis.set(title=task, xlabel="epoch", ylabel="loss")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if any("macro_f1" in line for network in networks.values() for line in network):
        right = axis.twinx()
        _plot(right, networks, "macro_f1", "macro-F1", LINE_COLOURS[2])
        right.set(ylabel="macro-F1", ylim=(0, 1))
    if networks:  # else there is nothing to name yet
        figure.legend(loc="outside lower center", ncols=3, fontsize="small", frameon=False)


def write_curves(
    run: Path, lines: Sequence[Mapping[str, Any]], tasks: Sequence[str], warn: Callable[[str], None]
) -> None:
    """Draw the curves of all tasks so far into RUN/curves.png; if that fails, call `warn`."""
    try:
        figure = Figure(figsize=(SIZE[0] * len(tasks), SIZE[1]), dpi=DPI, layout="constrained")
        parts = figure.subfigures(1, len(tasks), squeeze=False)[0]
        for part, task in zip(parts, tasks, strict=True):
            draw_task(part, lines, task)
        buffer = io.BytesIO()
        FigureCanvasAgg(figure).print_png(buffer)
        atomic.write_bytes(run / "curves.png", marked(buffer.getvalue()))
    except Exception as error:  # of a picture, which must not end a training
        warn(f"{run / 'curves.png'} can't be drawn ({error}); the run goes on without it")


def read_curves(run: Path) -> NDArray[np.uint8]:
    """The picture RUN/curves.png, RGB (H, W, 3); an OSError if there is none."""
    with Image.open(run / "curves.png") as picture:
        return np.asarray(picture.convert("RGB"))


def _plot(axis: Axes, networks: Mapping[str, Sequence[Mapping[str, Any]]], key: str, label: str, colour: str) -> None:
    """Draw one line per network, all in one colour; a fold without labels lacks some figures and has no line."""
    for epochs in networks.values():
        points = [(epoch["epoch"], epoch[key]) for epoch in epochs if key in epoch]
        if points:
            axis.plot(*zip(*points, strict=True), color=colour, label=label, marker=".")
            label = "_nolegend_"
