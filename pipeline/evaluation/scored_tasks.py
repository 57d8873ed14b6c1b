"""Which tasks, classes and bins predictions are scored with: those that they were made with.

In: predictions.csv or submission.csv, predictions.json beside it if there is one, and the settings. Out: the tasks, or
an error where the settings contradict what was predicted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cache.errors import UsageError
from classify.tasks import Task
from pipeline.intake.table_file import read_table
from pipeline.prediction.prediction_record import PredictionRecord, read_record
from pipeline.settings import Settings
from pipeline.task_names import probability_columns

WRITTEN_BY_PREDICT = {"path", "status", "class"}  # columns by which a table of any version is known


def scored_tasks(predictions: Path, settings: Settings, given: Mapping[str, Any]) -> tuple[list[Task], str]:
    """Return the tasks to score, and where their classes are from, as a sentence.

    Args:
        predictions: the table of predictions.
        settings: with defaults for what the user left open.
        given: the settings' section `tasks` as the user gave it, without defaults.

    Raises:
        UsageError: the settings' classes are not those of the predictions, or a file is missing.
        DataError: a file can't be read.
    """
    record = read_record(predictions)
    columns = read_table(predictions).columns
    is_ours = WRITTEN_BY_PREDICT.issubset(columns)
    columns = [name for name in columns if is_ours and name.startswith("p_")]
    if record is None:
        tasks = settings.task_list()
        _refuse_other_columns(
            predictions, columns, tasks, "the settings", "Give the settings of the run with --config."
        )
        return tasks, f"no predictions.json beside {predictions}: scored with the settings' classes, {_describe(tasks)}"
    remedy = "Delete predictions.json if it belongs to other predictions."
    _refuse_other_columns(predictions, columns, record.tasks, "predictions.json", remedy)
    _refuse_contradictions(predictions, record, settings, given)
    tasks = [_with_range(task, settings, given.get(task.name)) for task in record.tasks]
    return tasks, f"scored with the classes of {' and '.join(record.bundles) or 'the bundle'}: {_describe(tasks)}"


def _refuse_other_columns(
    predictions: Path, columns: Sequence[str], tasks: Sequence[Task], source: str, remedy: str
) -> None:
    """Refuse tasks whose probabilities would stand in other columns than the table has."""
    expected = [column for task in tasks for column in probability_columns(task)]
    if columns and set(columns) != set(expected):
        missing = [column for column in expected if column not in columns]
        extra = [column for column in columns if column not in expected]
        raise UsageError(
            f"{predictions} was predicted with other classes than {source}: {_describe(tasks)}.\n"
            f"The table has {_list(extra) or 'no other columns'}, and lacks {_list(missing) or 'none'}. {remedy}"
        )


def _refuse_contradictions(
    predictions: Path, record: PredictionRecord, settings: Settings, given: Mapping[str, Any]
) -> None:
    """Refuse settings that name other classes or edges than those that were predicted."""
    recorded = {task.name: task for task in record.tasks}
    for name, section in given.items():
        task = recorded.get(name)
        if section is None:
            there, here = task, "leave it out"
        elif isinstance(section, Mapping) and ("classes" in section or "edges" in section):
            wanted = settings.tasks[name].task(name)
            if task is not None and (wanted.classes, wanted.edges) == (task.classes, task.edges):
                continue
            there, here = task, f"have {_describe([wanted])}"
        else:
            continue
        if there is not None or section is not None:
            was = _describe([there]) if there is not None else "not at all"
            raise UsageError(
                f"{predictions} was predicted with another task {name} than that of the settings: predictions.json has "
                f"{was}, and the settings {here}. Leave the task out of --config and --set, or score other predictions."
            )


def _with_range(task: Task, settings: Settings, section: Any) -> Task:
    """The task with the range of valid numbers that the user gave."""
    if task.edges and isinstance(section, Mapping) and "range" in section:
        low, high = settings.tasks[task.name].range
        return replace(task, low=low, high=high)
    return task


def _describe(tasks: Sequence[Task]) -> str:
    return "; ".join(
        f"{task.name} {', '.join(task.classes)}"
        + (f" (from {', '.join(f'{edge:g}' for edge in task.edges)})" if task.edges else "")
        for task in tasks
    )


def _list(columns: Sequence[str]) -> str:
    return ", ".join(columns[:6]) + (", ..." if len(columns) > 6 else "")
