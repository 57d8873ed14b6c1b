"""Whether the parts of a bundle's description fit together.

bundle.json -> a sentence for each part that lacks something, misstates it, or contradicts another part. No network is
built: whether the weights fit is found out by loading them.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from classify.tasks import Task, read_task

REQUIRED = ("tasks", "models", "crop", "metrics", "most_frequent", "flip")
RULE_KEYS = {"temperature", "factors", "unsure_below"}
FILE_KEYS = ("file", "sha256")


def description_problems(description: Mapping[str, Any]) -> list[str]:
    """What is wrong with a bundle.json, most basic first; each sentence goes on after the name of the file."""
    missing = [key for key in REQUIRED if key not in description]
    if missing:
        return [f"lacks or misstates {', '.join(missing)}"]
    tasks, problems = _read_tasks(description["tasks"])
    models = description["models"]
    if not isinstance(models, Mapping) or not models:
        problems.append("lacks or misstates models: it names no network")
    if problems:
        return problems
    for name, entry in models.items():
        problems += [f"lacks or misstates models.{name}: {what}" for what in _network_problems(name, entry, tasks)]
    predicted = {task for name, entry in models.items() for task in tasks_of_network(name, entry)}
    problems += [f"lacks or misstates models: no network predicts {task}" for task in tasks if task not in predicted]
    problems += _decision_problems(description, tasks)
    photos = description.get("trained_photos")
    if photos is not None and not _names_a_file(photos):
        problems.append("lacks or misstates trained_photos: it names no file and sha256")
    return problems


def _read_tasks(entries: Any) -> tuple[dict[str, Task], list[str]]:
    """The tasks by name, and what is wrong with those that can't be read."""
    tasks: dict[str, Task] = {}
    problems: list[str] = []
    if not isinstance(entries, Mapping) or not entries:
        return {}, ["lacks or misstates tasks: it names none"]
    for name, entry in entries.items():
        try:
            tasks[name] = read_task(name, entry)
            if len(tasks[name].classes) < 2:
                raise ValueError("fewer than two classes")
        except (KeyError, TypeError, ValueError) as error:
            problems.append(f"lacks or misstates tasks.{name}: {error}")
    return tasks, problems


def _network_problems(name: str, entry: Any, tasks: Mapping[str, Task]) -> Iterator[str]:
    """What is wrong with the entry of one network."""
    if not _names_a_file(entry):
        yield "it names no file and sha256"
        return
    predicted, heads = tasks_of_network(name, entry), entry.get("heads")
    unknown = [str(task) for task in predicted if task not in tasks]
    if unknown or not predicted:
        yield f"it predicts {', '.join(unknown) or 'nothing'}, which is no task of the bundle"
    if heads is not None and (not isinstance(heads, list) or len(heads) != len(predicted)):
        yield f"it has {len(heads) if isinstance(heads, list) else 'no list of'} heads for {len(predicted)} tasks"
    if not isinstance(entry.get("model"), Mapping):
        yield "it has no model"
    for key in ("mean", "std"):
        values = entry.get(key)
        if not isinstance(values, list) or len(values) != 3 or not all(_is_number(value) for value in values):
            yield f"{key} must be three numbers, one for each of red, green and blue"
        elif key == "std" and min(values) <= 0:
            yield f"std must be above 0, and is {values}"


def _decision_problems(description: Mapping[str, Any], tasks: Mapping[str, Task]) -> Iterator[str]:
    """What is wrong with the way from probabilities to answers."""
    rules = description.get("decision_rules", description.get("verdicts", {}))  # "verdicts" until format 2
    for name, rule in rules.items():
        where = f"lacks or misstates decision_rules.{name}"
        if name not in tasks:
            yield f"{where}: the bundle has no such task"
            continue
        if unknown := rule.keys() - RULE_KEYS:
            yield f"{where}: unknown {', '.join(sorted(unknown))}"
        factors = rule.get("factors", [])
        if factors and len(factors) != len(tasks[name].classes):
            yield f"{where}: {len(factors)} factors for {len(tasks[name].classes)} classes"
        if not _is_positive(rule.get("temperature", 1.0)):
            yield f"{where}: temperature must be above 0, and is {rule['temperature']}"
    for name, temperature in description.get("held_out_temperatures", {}).items():
        if name not in tasks or not _is_positive(temperature):
            yield f"lacks or misstates held_out_temperatures.{name}"
    joint = math.prod(len(task.classes) for task in tasks.values())
    if not isinstance(description["most_frequent"], int) or not 0 <= description["most_frequent"] < joint:
        yield f"lacks or misstates most_frequent: it must be one of the {joint} joint classes, from 0"


def tasks_of_network(name: str, entry: Any) -> list[Any]:
    """The tasks that a network predicts: format 1 named it after its only one, and format 2 called them "tells"."""
    if not isinstance(entry, Mapping):
        return []
    predicted = entry.get("tasks", entry.get("tells", [name]))
    return predicted if isinstance(predicted, list) else []


def _names_a_file(entry: Any) -> bool:
    if not isinstance(entry, Mapping) or not all(isinstance(entry.get(key), str) for key in FILE_KEYS):
        return False
    return bool(re.fullmatch(r"[0-9a-f]{64}", entry["sha256"]))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0
