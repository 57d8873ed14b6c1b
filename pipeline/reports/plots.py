"""Plots inside a page: SVG in one style, whose ink follows the page's light or dark colours.

In: matplotlib figures made inside `plot_style()`. Out: <svg> elements with real text.
"""

import contextlib
import io
import re
from collections.abc import Generator
from html import escape

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Drawn in these colours, and then replaced by the page's: matplotlib knows no CSS variables.
INK, FAINT = "#0a0b0c", "#7a7b7c"
VARIABLES = {INK: "var(--ink)", FAINT: "var(--line)"}
SERIES = ("#3b74d6", "#dd6622", "#2b9060", "#a04fc0", "#b08a00", "#c03a5a")  # legible on light and on dark paper

STYLE = {
    "svg.fonttype": "none",  # text stays text: it scales, can be selected and is read aloud
    "text.parse_math": False,  # a class may be called $5
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "grid.alpha": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=SERIES),
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


@contextlib.contextmanager
def plot_style() -> Generator[None]:
    """Draw in the page's style inside this block."""
    with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        yield


def svg_element(figure: Figure, label: str) -> str:
    """A figure as an <svg> element; `label` says what it shows to those who can't see it.

    Its ids are hashes of the label and what they name, so that the same page has the same bytes.
    """
    buffer = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": label}):  # pyright: ignore[reportArgumentType]
        FigureCanvasSVG(figure).print_svg(buffer, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # figure_1, axes_1: the same in all figures of a page
    text = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    for drawn, variable in VARIABLES.items():
        text = text.replace(drawn, variable)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)


def histogram_of_people(counts: dict[str, dict[int, int]], xlabel: str) -> str:
    """Draw stacked bars: group -> number (such as an age) -> people."""
    with plot_style():
        figure = Figure(figsize=(6.4, 2.6), layout="constrained")
        axis = figure.subplots()
        numbers = [number for group in counts.values() for number in group]
        low, high = min(numbers), max(numbers)
        width = max(1, -(-(high - low + 1) // 40))  # at most 40 bars
        edges = list(range(low, high + width + 1, width))
        expanded = [[n for n, people in group.items() for _ in range(people)] for group in counts.values()]
        axis.hist(expanded, bins=edges, stacked=True, label=list(counts), rwidth=0.9)
        axis.set(xlabel=xlabel, ylabel="people")
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
        if len(counts) > 1:
            axis.legend()
        return svg_element(figure, f"people by {xlabel}")


def reliability(bins: list[tuple[float, float, int]], label: str) -> str:
    """Draw a reliability diagram of (mean confidence, share of correct answers, photos) per bin."""
    with plot_style():
        figure = Figure(figsize=(3.2, 3.4), layout="constrained")
        upper, lower = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
        _diagonal(upper)
        confidence, correct, photos = zip(*bins, strict=True)
        upper.plot(confidence, correct, marker="o", color=SERIES[0])
        upper.set(title=label, xlim=(0, 1.02), ylim=(0, 1.02), ylabel="share correct")
        lower.bar(confidence, photos, width=0.06, color=SERIES[0])
        lower.set(xlabel="probability of the answer", ylabel="photos")
        lower.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        return svg_element(figure, f"reliability diagram of {label}")


def _diagonal(axis: Axes) -> None:
    axis.axline((0, 0), slope=1, color=FAINT, linewidth=1, linestyle="--")
