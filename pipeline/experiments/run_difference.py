"""What changed between two runs, and how the scores moved.

In: the files of two runs. Out: a RunDifference: settings and circumstances that differ, the scores of both, and paired
differences over the people that both held out. Nothing is trained or predicted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache.errors import BundleError, UsageError
from classify.evaluation.paired_bootstrap import PairedScore, paired_scores
from classify.tasks import UNLABELLED, Task, joint_names
from pipeline.console import counted
from pipeline.evaluation.validation_table import Validation, read_validation
from pipeline.experiments.results import signed, signed_interval
from pipeline.run_record import dotted
from pipeline.run_state import RunState, read_run
from pipeline.setting_differences import differing_settings
from pipeline.settings import Settings, load_settings

CIRCUMSTANCES = ("data", "device", "processes", "git", "versions")  # of run.json
DATA = ("data_fingerprint", "folds_fingerprint", "crop_fingerprint", "photos", "trained_on", "people", "classes")


@dataclass(frozen=True, slots=True)
class RunDifference:
    """What changed from the first run to the second."""

    first: RunState
    second: RunState
    settings: Mapping[str, list[str]]  # dotted key -> its value in both, as JSON
    circumstances: Mapping[str, list[str]]  # of run.json and data.json, likewise
    # "joint" and task -> both runs' scores on the photos that both held out, the second's with the difference
    paired: Mapping[str, Sequence[PairedScore]] = field(default_factory=dict[str, Sequence[PairedScore]])
    photos: int = 0  # held out by both
    people: int = 0
    notes: tuple[str, ...] = ()  # what could not be compared, and why

    def tables(self) -> list[tuple[str, list[str], list[list[object]]]]:
        """Title, columns and rows of each table to print."""
        names = [self.first.folder.name, self.second.folder.name]
        tables: list[tuple[str, list[str], list[list[object]]]] = []
        for title, differing in (("Settings that differ", self.settings), ("Circumstances", self.circumstances)):
            if differing:
                tables.append((title, ["", *names], [[key, *values] for key, values in differing.items()]))
        recorded = [self.first.scores, self.second.scores]
        rows: list[list[object]] = [
            [name, *(figures.get(name, {}).get("macro_f1") for figures in recorded)]
            for name in dict.fromkeys([*recorded[0], *recorded[1]])
        ]
        if rows:
            tables.append(("Macro-F1, each on all people that it held out", ["", *names], rows))
        rows = []
        for name, (before, after) in self.paired.items():
            if (difference := after.difference) is not None:
                cells = [signed(difference.macro_f1), signed_interval(difference), f"{difference.better:.0%}"]
                rows.append([name, before.macro_f1, after.macro_f1, *cells])
        if rows:
            title = f"Macro-F1 on the {self.photos:,} photos of {self.people:,} people that both held out"
            tables.append((title, ["", *names, "difference", "95% interval", "better"], rows))
        return tables

    def as_json(self) -> dict[str, Any]:
        """The JSON object that `runs diff --json` prints."""
        return {
            "runs": [str(self.first.folder), str(self.second.folder)],
            "status": [self.first.status, self.second.status],
            "settings": dict(self.settings),
            "circumstances": dict(self.circumstances),
            "scores": [self.first.scores, self.second.scores],
            "photos": self.photos,
            "people": self.people,
            "paired": {name: [score.as_json() for score in scores] for name, scores in self.paired.items()},
            "notes": list(self.notes),
        }


def compare_runs(first: Path, second: Path) -> RunDifference:
    """Compare two runs; whatever one of them lacks is left out, with a note."""
    runs = (read_run(first), read_run(second))
    notes = [run.describe() for run in runs if run.status != "finished"]
    settings = [_read_settings(run.folder, notes) for run in runs]
    differing = differing_settings([each for each in settings if each is not None]) if all(settings) else {}
    circumstances = _differing_values([_circumstances(run) for run in runs])
    tasks = [tasks_of(run) for run in runs]
    try:
        tables = [
            read_held_out(run, run_tasks) if run_tasks else None for run, run_tasks in zip(runs, tasks, strict=True)
        ]
    except BundleError as error:
        notes.append(str(error))
        tables = [None, None]
    if tables[0] is None or tables[1] is None:
        lacking = [str(run.folder) for run, table in zip(runs, tables, strict=True) if table is None]
        notes.append(
            f"no paired differences: there is no validation.csv with held-out people in {' or '.join(lacking)}"
        )
        return RunDifference(*runs, differing, circumstances, notes=tuple(notes))
    paired, photos, people = _pair(tables[0], tables[1], tasks, notes)
    return RunDifference(*runs, differing, circumstances, paired, photos, people, tuple(notes))


def _pair(
    first: Validation, second: Validation, tasks: Sequence[Sequence[Task]], notes: list[str]
) -> tuple[dict[str, list[PairedScore]], int, int]:
    """Scores on the photos that both runs held out, and how many photos and people these are."""
    keys = ["path", "source"]
    rows = [table.table.select(keys).with_row_index(name) for table, name in ((first, "a"), (second, "b"))]
    common = rows[0].join(rows[1], on=keys).sort("a")
    if common.is_empty():
        notes.append("no paired differences: the two runs held out no photo in common")
        return {}, 0, 0
    in_first, in_second = common["a"].to_numpy(), common["b"].to_numpy()
    people = np.array(first.people)[in_first]

    classes = {task.name: len(task.classes) for task in tasks[0] if task in tasks[1]}
    if list(tasks[0]) == list(tasks[1]):
        classes = {"joint": len(joint_names(tasks[0])), **classes}
    others = sorted({task.name for task in (*tasks[0], *tasks[1])} - classes.keys())
    if others:
        notes.append(f"no paired differences of {', '.join(others)}: the two runs do not have the same classes of it")
    paired: dict[str, list[PairedScore]] = {}
    for name, count in classes.items():
        (true, predicted), (other_true, other_predicted) = (
            _rows_of(first, name, in_first),
            _rows_of(second, name, in_second),
        )
        labelled = (true != UNLABELLED) & (other_true != UNLABELLED)
        same = labelled & (true == other_true)
        if relabelled := int((labelled & ~same).sum()):
            notes.append(f"{name}: left out, {counted(relabelled, 'photo')} with another label in the second run")
        if same.any():
            codes = np.stack([predicted[same], other_predicted[same]])[:, None]
            paired[name] = paired_scores(true[same], codes, people[same].tolist(), count)
    return paired, len(common), len(set(people.tolist()))


def _rows_of(validation: Validation, name: str, rows: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    true, predicted = validation.codes[name]
    return true[rows], predicted[rows]


def read_held_out(run: RunState, tasks: Sequence[Task]) -> Validation | None:
    """The held-out photos of a run; None if there is no validation.csv, and a BundleError if it is damaged."""
    path = run.folder / "validation.csv"
    if not path.is_file():
        return None
    try:
        return read_validation(path, tasks)
    except (pl.exceptions.PolarsError, OSError, ValueError, KeyError) as error:
        reason = str(error).split("\n")[0]
        raise BundleError(f"{path} is damaged ({reason}): no paired differences") from error


def tasks_of(run: RunState) -> list[Task]:
    """The tasks of a run's bundle; none if there is no bundle that can be read."""
    entries = run.bundle.get("tasks")
    if not isinstance(entries, dict):
        return []
    try:
        return [Task(name, tuple(entry["classes"]), tuple(entry["edges"])) for name, entry in entries.items()]
    except (KeyError, TypeError):
        return []


def _read_settings(folder: Path, notes: list[str]) -> Settings | None:
    try:
        return load_settings(folder / "config.yaml")
    except UsageError as error:
        notes.append(f"settings are not compared: {error}")
        return None


def _circumstances(run: RunState) -> dict[str, Any]:
    record = {name: run.record.get(name) for name in CIRCUMSTANCES}
    return dotted({**record, **{name: run.data.get(name) for name in DATA}})


def _differing_values(values: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    keys = dict.fromkeys(key for each in values for key in each)
    rows = {key: ["" if (value := each.get(key)) is None else str(value) for each in values] for key in keys}
    return {key: row for key, row in rows.items() if len(set(row)) > 1}
