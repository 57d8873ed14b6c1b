"""Validation against the leaderboard, over all submissions of a ledger.

In: the ledger, and the run of the report. Out: a drawing and a table, which show whether validation scores can be
trusted to choose between runs.
"""

import hashlib
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from cache.errors import DataError
from pipeline.ledger import Submission, rank_correlation, read_ledger
from pipeline.reports.plots import FAINT, INK, plot_style, svg_element
from pipeline.run_state import BUNDLE_JSON

BOARDS = {"public": ("#3366cc", "o"), "private": ("#dd6622", "s")}  # colour and mark


def leaderboard(ledger: Path, run: Path) -> dict[str, Any] | None:
    """What the template shows of the ledger; None if it has no submission with a validation and a leaderboard score."""
    try:
        book = read_ledger(ledger)
    except DataError:
        return None
    submissions = [
        line
        for line in book.by_file()
        if "joint" in line.validation and (line.public is not None or line.private is not None)
    ]
    if not submissions:
        return None
    bundle = run / BUNDLE_JSON
    of_run = (hashlib.sha256(bundle.read_bytes()).hexdigest(),) if bundle.is_file() else ()
    correlations: dict[str, float] = {}
    for name in BOARDS:
        pairs = _pairs(submissions, name)
        value = rank_correlation([first for first, _ in pairs], [second for _, second in pairs])
        if value is not None:
            correlations[name] = value
    return {
        "drawing": _draw(submissions, of_run),
        "rows": [(line, line.bundles == of_run) for line in submissions],
        "correlations": correlations,
        "problems": book.problems,
        "ledger": str(ledger),
    }


def _pairs(submissions: list[Submission], board: str) -> list[tuple[float, float]]:
    scores = [(line.validation["joint"], getattr(line, board)) for line in submissions]
    return [(validation, score) for validation, score in scores if score is not None]


def _draw(submissions: list[Submission], of_run: tuple[str, ...]) -> str:
    """One point per submission and board; those of the run have a ring, and equal scores lie on the line."""
    with plot_style():
        figure = Figure(figsize=(4.2, 3.6), layout="constrained")
        axis = figure.subplots()
        for name, (colour, mark) in BOARDS.items():
            if pairs := _pairs(submissions, name):
                axis.scatter(*zip(*pairs, strict=True), c=colour, marker=mark, label=name)
        rings = _pairs([line for line in submissions if line.bundles == of_run], "public")
        rings += _pairs([line for line in submissions if line.bundles == of_run], "private")
        if rings:
            axis.scatter(*zip(*rings, strict=True), s=140, facecolors="none", edgecolors=INK, label="this run")
        axis.axline((0, 0), slope=1, color=FAINT, linewidth=1, zorder=0)
        values = [value for name in BOARDS for pair in _pairs(submissions, name) for value in pair]
        low, high = max(min(values) - 0.02, 0), min(max(values) + 0.02, 1)
        axis.set(xlim=(low, high), ylim=(low, high), xlabel="validation (joint macro-F1)", ylabel="leaderboard")
        axis.legend(fontsize="small", frameon=False)
        return svg_element(figure, "validation against leaderboard")
