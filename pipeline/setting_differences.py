"""Which settings differ between runs or configurations.

In: the settings of each. Out: the keys that differ, with the value of each.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pipeline.run_record import dotted
from pipeline.settings import COMMON_SECTIONS, Settings


def differing_settings(settings: Sequence[Settings], *, without: Collection[str] = ()) -> dict[str, list[str]]:
    """The dotted key of each setting that differs -> its value, as JSON, in each of the settings.

    Args:
        settings: two or more.
        without: keys to leave out.
    """
    flat = flat_settings(settings, without=without)
    keys = dict.fromkeys(key for values in flat for key in values if not _is_common(key, flat))
    values = {key: [json.dumps(each.get(key), ensure_ascii=False) for each in flat] for key in keys}
    return {key: row for key, row in values.items() if len(set(row)) > 1}


def flat_settings(settings: Sequence[Settings], *, without: Collection[str] = ()) -> list[dict[str, Any]]:
    """Each of the settings by dotted key."""
    trees = [dotted(each.model_dump(mode="json")) for each in settings]
    return [{key: value for key, value in tree.items() if key not in without} for tree in trees]


def _is_common(key: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a task's key repeats `model` or `train` in all settings."""
    steps = key.split(".")
    common = ".".join(steps[2:])
    return steps[0] == "tasks" and steps[2] in COMMON_SECTIONS and all(s.get(key) == s.get(common) for s in settings)
