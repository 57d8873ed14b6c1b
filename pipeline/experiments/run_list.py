"""Many runs in one table: data, backbone, scores, time and status, filtered and sorted.

In: a folder. Out: a RunList; a run that is unfinished or damaged has a row, too, with what is known of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from cache.errors import UsageError
from pipeline.console import clock_time
from pipeline.run_state import RunState, find_runs, read_run

TEXT_COLUMNS = ("run", "status", "data", "backbone", "start")
FIXED_COLUMNS = (*TEXT_COLUMNS, "people", "seconds")
# Yaml's parser in C is ten times as fast as the one in Python; it is not part of all builds.
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class ListedRun:
    """One row of the list."""

    name: str  # its folder, relative to the one that was searched
    state: RunState
    data: str  # the data set's path; of runs of older versions, the start of its fingerprint
    backbones: tuple[str, ...]

    def row(self) -> dict[str, Any]:
        """The columns of the table, those of the scores by "joint" and task."""
        scores = {
            name if name not in FIXED_COLUMNS else f"{name} score": figures.get("macro_f1")
            for name, figures in self.state.scores.items()
        }
        return {
            "run": self.name,
            "status": self.state.status,
            "data": Path(self.data).name,
            "backbone": ", ".join(self.backbones),
            **scores,
            "people": self.state.data.get("people"),
            "seconds": self.state.training_seconds or None,
            "start": str(self.state.record.get("start", "")),
        }

    def as_json(self) -> dict[str, Any]:
        """The run as `runs --json` lists it."""
        state = self.state
        record = {key: state.record.get(key) for key in ("start", "end", "device", "command")}
        return {
            "run": self.name,
            "status": state.status,
            "problems": list(state.problems),
            "data": self.data,
            "data_fingerprint": state.data.get("data_fingerprint"),
            "people": state.data.get("people"),
            "backbones": list(self.backbones),
            "scores": state.scores,
            "training_seconds": state.training_seconds,
            **record,
        }


@dataclass(frozen=True, slots=True)
class RunList:
    """The runs of a folder, in the requested order."""

    folder: Path
    runs: tuple[ListedRun, ...]
    found: int  # before the condition was applied

    def table(self) -> tuple[list[str], list[list[object]]]:
        """Column names and rows to print; columns that no run has a value in are left out, and `start` and `people`."""
        table = _frame(self.runs).drop("start", "people")
        columns = [name for name in table.columns if table[name].cast(pl.String).fill_null("").ne("").any()]
        rows = [list[object](row) for row in table.select(columns).rows()]
        if "seconds" in columns:
            index = columns.index("seconds")
            columns[index] = "training"
            for row, run in zip(rows, self.runs, strict=True):
                row[index] = clock_time(run.state.training_seconds) if run.state.training_seconds else None
        return columns, rows

    def as_json(self) -> dict[str, Any]:
        """The JSON object that `runs --json` prints."""
        return {"folder": str(self.folder), "found": self.found, "runs": [run.as_json() for run in self.runs]}


def list_runs(folder: Path, *, where: str = "", sort: str = "") -> RunList:
    """Find the runs in a folder, at any depth.

    Args:
        folder: the runs' folder, or a run.
        where: an SQL condition on the table's columns, as in "joint > 0.7 AND backbone LIKE 'resnet%'".
        sort: a column, with a minus before it for the largest first; by default the order in which runs started.

    Raises:
        UsageError: the condition or the column is not valid; the message names the columns.
    """
    runs = [_listed(folder, path) for path in find_runs(folder)]
    chosen = _select(runs, where, sort) if runs else []
    return RunList(folder, tuple(chosen), len(runs))


def _listed(folder: Path, path: Path) -> ListedRun:
    state = read_run(path)
    data = state.record.get("data") or str(state.data.get("data_fingerprint", ""))[:8]
    name = path.relative_to(folder).as_posix() if path != folder else path.name or str(path)
    return ListedRun(name, state, str(data), _backbones(path / "config.yaml"))


def _backbones(config: Path) -> tuple[str, ...]:
    """The backbones of the networks, of all kinds in an ensemble; empty if config.yaml can't be read."""
    try:
        tree: Any = yaml.load(config.read_text(encoding="utf-8"), YAML_LOADER)
        of_tasks = [task["model"]["backbone"] for task in tree["tasks"].values() if task]
        kinds = [kind["model"] for kind in tree.get("ensemble", {}).values() if kind] or [{}]
        names = [str(model.get("backbone", of_task)) for model in kinds for of_task in of_tasks]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return ()
    return tuple(dict.fromkeys(names))


def _frame(runs: Sequence[ListedRun]) -> pl.DataFrame:
    rows = [run.row() for run in runs]
    scores = dict.fromkeys(name for row in rows for name in row if name not in FIXED_COLUMNS)
    columns = ["run", "status", "data", "backbone", *scores, "people", "seconds", "start"]
    types: dict[str, Any] = {name: pl.String if name in TEXT_COLUMNS else pl.Float64 for name in columns}
    types["people"] = pl.Int64
    return pl.DataFrame([[row.get(name) for name in columns] for row in rows], schema=types, orient="row", strict=False)


def _select(runs: Sequence[ListedRun], where: str, sort: str) -> list[ListedRun]:
    table = _frame(runs).with_row_index("index")
    columns = ", ".join(table.columns[1:])
    if where:
        try:
            table = table.filter(pl.sql_expr(where))
        except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
            reason = str(error).split("\n")[0]
            raise UsageError(
                f"--where {where!r}: {reason}. Write a condition on {columns}, as in \"status = 'finished'\""
            ) from None
    column = sort.removeprefix("-") or "start"
    if column not in table.columns[1:]:
        raise UsageError(f"--sort {sort}: there is no such column among {columns}; - before it puts the largest first")
    table = table.sort(column, descending=sort.startswith("-"), nulls_last=True, maintain_order=True)
    return [runs[index] for index in table["index"]]
