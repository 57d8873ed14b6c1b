"""Several runs side by side on one page: what differs in their settings, and how the scores moved.

In: the files of runs; the first is compared with each other. Out: comparison.html in the folder of the first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cache import atomic
from cache.errors import BundleError, UsageError
from classify.evaluation.paired_bootstrap import PairedScore
from pipeline.experiments.results import signed, signed_interval
from pipeline.experiments.run_difference import RunDifference, compare_runs, read_held_out, tasks_of
from pipeline.reports.held_out import Section, score_sections
from pipeline.reports.html import page_template
from pipeline.reports.run_report import draw_curves
from pipeline.run_state import RunState
from pipeline.setting_differences import differing_settings
from pipeline.settings import load_settings

PAGE = "comparison.html"


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """What the page shows of a run."""

    state: RunState
    name: str
    sections: Mapping[str, Section]  # "joint" and tasks; none without held-out people
    curves: Sequence[str]


@dataclass(frozen=True, slots=True)
class Paired:
    """How a score moved from the first run to another, on the photos that both held out."""

    task: str
    before: float
    after: float
    difference: str
    interval: str
    better: float  # share of the bootstrap draws in which the other is better


def write_comparison(runs: Sequence[Path]) -> Path:
    """Write comparison.html into the first run's folder; returns its path.

    Raises:
        UsageError: the config.yaml of a run can't be read, or a run is named twice.
    """
    if len({run.resolve() for run in runs}) < len(runs):
        raise UsageError("the same run is named twice; name runs that differ")
    differences = [compare_runs(runs[0], other) for other in runs[1:]]
    states = [differences[0].first, *(difference.second for difference in differences)]
    notes = list(dict.fromkeys(note for difference in differences for note in difference.notes))
    names = run_names(runs)
    page = page_template("comparison.html.j2").render(
        title=f"faceline: {', '.join(names)}",
        names=names,
        runs=[_compared(state, name) for state, name in zip(states, names, strict=True)],
        scores=list(dict.fromkeys(score for state in states for score in state.scores)),
        settings=differing_settings([load_settings(run / "config.yaml") for run in runs]),
        circumstances=_circumstances(differences),
        paired=[(difference, list(_paired(difference))) for difference in differences],
        notes=notes,
        pictures=None,
    )
    path = runs[0] / PAGE
    atomic.write_text(path, page.encode("utf-8", "backslashreplace").decode())
    return path


def run_names(runs: Sequence[Path]) -> list[str]:
    """The folders' names, or their paths where two have the same name."""
    names = [run.resolve().name for run in runs]
    return names if len(set(names)) == len(names) else [str(run) for run in runs]


def _compared(state: RunState, name: str) -> ComparedRun:
    tasks = tasks_of(state)
    try:
        validation = read_held_out(state, tasks) if tasks else None
    except BundleError:
        validation = None  # which is among the notes of the differences
    sections = score_sections(validation, tasks) if validation is not None and len(validation.table) else []
    drawn = load_settings(state.folder / "config.yaml").task_list()
    return ComparedRun(
        state, name, {section.name: section for section in sections}, draw_curves(state.epochs, drawn, name)
    )


def _circumstances(differences: Sequence[RunDifference]) -> dict[str, list[str]]:
    """What differs besides the settings: in the first run, and in each other."""
    keys = dict.fromkeys(key for difference in differences for key in difference.circumstances)
    table: dict[str, list[str]] = {}
    for key in keys:
        first = next(d.circumstances[key][0] for d in differences if key in d.circumstances)
        table[key] = [first, *(d.circumstances[key][1] if key in d.circumstances else first for d in differences)]
    return table


def _paired(difference: RunDifference) -> list[Paired]:
    rows: list[Paired] = []
    for task, scores in difference.paired.items():
        before: PairedScore
        before, after = scores
        if (moved := after.difference) is not None:
            rows.append(
                Paired(
                    task, before.macro_f1, after.macro_f1, signed(moved.macro_f1), signed_interval(moved), moved.better
                )
            )
    return rows
