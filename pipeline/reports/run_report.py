"""The report of a run: one HTML file that needs nothing else.

RUN/ (run.json, data.json, metrics.jsonl, validation.csv, predictions.csv) + the cache -> RUN/report.html, groups.csv.
A run that is unfinished or damaged is reported as such, with what is there.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from cache import atomic
from cache.errors import BundleError, FacelineError, UsageError
from cache.store import CropStore
from classify.tasks import Task
from detect.fingerprints import crop_spec
from pipeline.evaluation.subgroups import group_table
from pipeline.evaluation.validation_table import Validation, read_validation
from pipeline.intake.corrections import load_labelled
from pipeline.intake.photo import Photo
from pipeline.ledger import LEDGER
from pipeline.reports.data_section import data_facts, shown_in_an_epoch
from pipeline.reports.detection_section import detection_facts
from pipeline.reports.explanations import explain
from pipeline.reports.held_out import galleries, score_sections
from pipeline.reports.html import page_template
from pipeline.reports.leaderboard import leaderboard
from pipeline.reports.mistakes import worst_mistakes
from pipeline.reports.pictures import Pictures, crops_of
from pipeline.reports.plots import plot_style, svg_element
from pipeline.reports.predictions_section import PredictionFacts, prediction_facts
from pipeline.reports.summary import circumstances, summary
from pipeline.run_state import RunState, is_run, read_run
from pipeline.safe_csv import csv_text
from pipeline.setting_differences import differing_settings
from pipeline.settings import Settings, load_settings
from pipeline.training.class_counts import ClassCount
from pipeline.training.curves import SIZE, draw_task

WORST_GROUPS = 15


def write_report(run: Path, cache: Path, ledger: Path = LEDGER, device: str = "cpu") -> Path:
    """Write RUN/report.html, and RUN/groups.csv where people were held out; returns the page's path.

    Args:
        run: a run in any state.
        cache: the crops' folder.
        ledger: of submissions, whose scores are drawn against the validation scores.
        device: on which networks explain the worst mistakes, as torch names it.

    Raises:
        BundleError: the folder holds no run, or one without its settings.
    """
    if not is_run(run):
        raise BundleError(f"{run} holds no finished run, and no unfinished one")
    state = read_run(run)
    try:
        settings = load_settings(run / "config.yaml")
    except UsageError as error:
        raise BundleError(f"{state.describe()}. Without its settings, there is no report: {error}") from None
    tasks = settings.task_list()
    problems = [] if state.status == "finished" else [state.describe()]
    store = CropStore(cache, crop_spec(settings.detect, settings.crop))
    pictures = Pictures(crops_of(store))

    # The held-out people, if there are any
    validation = _held_out(run, tasks, problems)
    sections = [] if validation is None else score_sections(validation, tasks)
    groups: list[dict[str, Any]] = []
    mistakes = {}
    opened = {}
    if validation is not None:
        table = group_table(validation, tasks)
        atomic.write_text(run / "groups.csv", csv_text(table, float_precision=4))
        groups = table.to_dicts()
        scored = [section.name for section in sections]
        mistakes = {task.name: worst_mistakes(validation, task, pictures) for task in tasks if task.name in scored}

    # Pictures that matter most come first, as a page has room for some thousand
    photos = _labelled_photos(state, settings, problems)
    explanations = explain(run, mistakes, tasks, photos, pictures, device=device)
    detection = detection_facts(run, settings.detect.steps[0], store, pictures, photos)
    predictions = _predictions(state, tasks, pictures, problems)
    if validation is not None:
        opened = galleries(sections, validation, pictures)
    calibration = _calibration(run, problems)
    people = len(set(validation.people)) if validation is not None else 0

    page = page_template("report.html.j2").render(
        title=f"faceline: {run.resolve().name}",
        state=state,
        circumstances=circumstances(state.status, state.record),
        problems=problems,
        summary=list(summary(sections, groups, people, calibration, detection)),
        facts=data_facts(photos, tasks) if photos else None,
        shown=_shown(state, problems),
        detection=detection,
        curves=draw_curves(state.epochs, tasks),
        sections=sections,
        galleries=opened,
        note=settings.held_out_note,
        calibration=calibration,
        groups=groups[:WORST_GROUPS],
        tasks=[task.name for task in tasks],
        mistakes=mistakes,
        explanations=explanations,
        predictions=predictions,
        submissions=leaderboard(ledger, run),
        differing=differing_settings([load_settings(), settings]),
        config=settings.as_yaml(),
        pictures=pictures,
    )
    path = run / "report.html"
    atomic.write_text(path, page.encode("utf-8", "backslashreplace").decode())
    return path


def _held_out(run: Path, tasks: Sequence[Task], problems: list[str]) -> Validation | None:
    path = run / "validation.csv"
    if not path.is_file():
        return None
    try:
        validation = read_validation(path, tasks)
    except (pl.exceptions.PolarsError, OSError, ValueError, KeyError) as error:
        problems.append(f"{path.name} is damaged ({str(error).splitlines()[0]}), so there are no scores")
        return None
    return validation if len(validation.table) else None


def _shown(state: RunState, problems: list[str]) -> list[tuple[str, list[ClassCount]]]:
    try:
        return shown_in_an_epoch(state.class_counts)
    except ValueError as error:
        problems.append(f"class_counts.jsonl is damaged ({error})")
        return []


def _predictions(
    state: RunState, tasks: Sequence[Task], pictures: Pictures, problems: list[str]
) -> PredictionFacts | None:
    try:
        return prediction_facts(state.folder, state.record, tasks, pictures)
    except (pl.exceptions.PolarsError, OSError, ValueError, KeyError) as error:
        problems.append(f"predictions.csv is damaged ({str(error).splitlines()[0]}), so it is not shown")
        return None


def _calibration(run: Path, problems: list[str]) -> Mapping[str, Mapping[str, Any]]:
    path = run / "calibration.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: facts for name, facts in content.items() if "error" in facts and "temperature" in facts}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        problems.append(f"{path.name} is damaged ({error})")
        return {}


def _labelled_photos(state: RunState, settings: Settings, problems: list[str]) -> Sequence[Photo]:
    """The photos that the run was trained on, with labels that are read again; none if that is not possible."""
    data = state.record.get("data")
    if not isinstance(data, str) or not Path(data).exists():
        return ()
    try:
        photos = load_labelled(Path(data), settings).train
    except (FacelineError, OSError) as error:
        problems.append(f"the data set can't be read again ({str(error).splitlines()[0]})")
        return ()
    then = state.data.get("photos")
    if isinstance(then, int) and then != len(photos):
        problems.append(f"the data set has changed since: it had {then:,} labelled photos, and has {len(photos):,} now")
    return photos


def draw_curves(epochs: Sequence[Mapping[str, Any]], tasks: Sequence[Task], run: str = "") -> list[str]:
    """Draw the learning curves of each task; the name of a `run` sets its drawings apart from those of others."""
    drawings: list[str] = []
    for task in tasks:
        with plot_style():
            figure = Figure(figsize=SIZE, layout="constrained")
            draw_task(figure, epochs, task.name)
            drawings.append(svg_element(figure, f"learning curves of {task.name}{run and f' in {run}'}"))
    return drawings
