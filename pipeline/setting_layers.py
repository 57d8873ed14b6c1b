"""Layers of settings: the defaults, each `--config` file and each `--set` option, laid over each other in their order.

In: YAML files and options. Out: one tree; and for errors, which layer has set a key.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from cache.errors import UsageError

# Sections from which a task takes the keys that its own section of the same name does not set.
COMMON_SECTIONS = ("model", "train")

Tree = dict[str, Any]
Key = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """Some settings that a user gave in one place."""

    source: str  # the file or option, as the user wrote it
    tree: Mapping[str, Any]
    replaced: Key = ()  # of an option: its key, whose value replaces all that is below it


def read_file(file: Path) -> Layer:
    """Read a YAML file.

    Raises:
        UsageError: it is missing, is not YAML, holds no keys, or holds a key twice.
    """
    try:
        tree = yaml.load(file.read_text(encoding="utf-8-sig"), _UniqueKeys)
    except FileNotFoundError:
        raise UsageError(f"--config: there is no file {file}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"--config: {file} is not readable YAML: {error}") from None
    if tree is not None and not isinstance(tree, dict):
        raise UsageError(f"--config: {file} must hold keys and values, as in 'seed: 1'")
    return Layer(str(file), tree or {})


def read_option(option: str) -> Layer:
    """Read "key=value" with a dotted key and a YAML value.

    Raises:
        UsageError: it is not of this form.
    """
    key, equals, text = option.partition("=")
    steps = key.strip().split(".")
    if not equals or not all(steps):
        raise UsageError(f"--set {option}: write it as key=value, for example --set train.epochs=5")
    try:
        tree = yaml.load(text, _UniqueKeys)
    except yaml.YAMLError:
        raise UsageError(f"--set {option}: {text!r} is not a YAML value; put quotes around it") from None
    for step in reversed(steps):
        tree = {step: tree}
    return Layer(f"--set {option}", tree, tuple(steps))


def merge(layers: Sequence[Layer]) -> Tree:
    """Lay the layers over each other; in each key, the last one wins."""
    tree: Tree = {}
    for layer in layers:
        _drop_task_keys(tree, layer)
        tree = _merge(tree, layer.tree, layer.replaced)
    return tree


def describe_errors(
    error: ValidationError, tree: Tree, layers: Sequence[Layer], similar_key: Callable[[Key], str]
) -> str:
    """Say what is wrong with the settings: a line for each key, with the file or option that has set it.

    Args:
        error: what the validation found.
        tree: the merged layers, before tasks took keys from the common sections.
        layers: the user's.
        similar_key: returns the setting that an unknown key may mean, or "".
    """
    found: dict[tuple[str, str], list[str]] = {}
    values: dict[tuple[str, str], str] = {}
    for details in error.errors():
        key = _where_set(details["loc"], tree)
        shown = ".".join(map(str, key if details["type"] == "missing" else key[: _depth(tree, key)]))
        place = (_sources(key, layers), shown)
        messages = found.setdefault(place, [])
        if details["type"] == "extra_forbidden":
            similar = similar_key(key)
            messages.append("there is no such setting" + (f"; did you mean {similar}?" if similar else ""))
            continue
        message = details["msg"].removeprefix("Value error, ")
        if isinstance(details["input"], bool) and "string" in message:
            message += " (YAML reads yes, no, on and off as true and false: put quotes around them)"
        messages.append(message)
        values[place] = "" if isinstance(details["input"], dict) else f" (it is {details['input']!r})"
    lines: list[str] = []
    for (source, key), messages in found.items():
        first, *others = dict.fromkeys(messages)
        message = " or ".join([first, *(other.removeprefix("Input should be ") for other in others)])
        lines.append(": ".join(filter(None, (source, key, message))) + values.get((source, key), ""))
    return "\n".join(dict.fromkeys(lines))


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, of which PyYAML would drop the first."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else "")
        return node


def _drop_task_keys(tree: Tree, layer: Layer) -> None:
    """Remove from the tasks of earlier layers what this layer sets for all tasks: a later layer wins there too."""
    tasks: Any = tree.get("tasks")
    for section in COMMON_SECTIONS:
        if section not in layer.tree or not isinstance(tasks, dict):
            continue
        common = layer.tree[section]
        replaces_all = layer.replaced == (section,) or not isinstance(common, Mapping)
        for task in tasks.values():
            if isinstance(task, dict) and isinstance(task.get(section), dict):
                task[section] = {} if replaces_all else {k: v for k, v in task[section].items() if k not in common}


def _merge(below: Mapping[str, Any], above: Mapping[str, Any], replaced: Key) -> Tree:
    """Combine two trees key by key; the second wins, and at the key `replaced` stands alone."""
    merged = {key: dict(value) if isinstance(value, Mapping) else value for key, value in below.items()}
    for key, value in above.items():
        lower, rest = merged.get(key), replaced[1:] if replaced[:1] == (key,) else ()
        if isinstance(value, Mapping) and replaced != (key,):
            merged[key] = _merge(lower if isinstance(lower, Mapping) else {}, value, rest)
        else:
            merged[key] = value
    return merged


def _where_set(loc: Key, tree: Tree) -> Key:
    """The key of an error in a task, or that of the common section if the task has taken the value from there."""
    if len(loc) < 3 or loc[0] != "tasks" or loc[2] not in COMMON_SECTIONS:
        return loc
    depth = _depth(tree, loc)
    is_own = depth >= 4 if len(loc) > 3 else bool(depth == 3 and tree["tasks"][loc[1]][loc[2]])
    return loc if is_own else loc[2:]


def _depth(tree: Any, key: Key) -> int:
    """How many steps of the key the tree has."""
    for number, step in enumerate(key):
        try:
            if isinstance(tree, str):
                return number
            tree = tree[step]
        except (KeyError, IndexError, TypeError):
            return number
    return len(key)


def _sources(key: Key, layers: Sequence[Layer]) -> str:
    """The layer that has set the value at this key; of a section or of a key that is missing, all that set a part."""
    depths = [_depth(layer.tree, key) for layer in layers]
    deepest = max(depths, default=0)
    if not layers or (key and not deepest):
        return "the settings"
    setting = [layer for layer, depth in zip(layers, depths, strict=True) if depth == deepest]
    value: Any = setting[-1].tree
    for step in key[:deepest]:
        value = value[step]
    return " and ".join(layer.source for layer in setting) if isinstance(value, Mapping) else setting[-1].source
