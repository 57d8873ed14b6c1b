"""What a bundle says to people about its making: the data behind it, and how well it does in groups of photos.

In: a run's data.json and validation.csv. Out: the entries `data` and `groups` of bundle.json, from which its model card
is made.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from classify.tasks import Task
from pipeline.evaluation.subgroups import group_table
from pipeline.evaluation.validation_table import read_validation

KEPT = ("people", "classes", "data_fingerprint", "open_ends")  # of data.json


def data_facts(run: Path, tasks: Sequence[Task], note: str) -> dict[str, Any]:
    """Count the photos and people that the networks are from, and those on which they were scored, with a `note`."""
    try:
        record: dict[str, Any] = json.loads((run / "data.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # it could not be written, which ends no run
        return {}
    facts: dict[str, Any] = {"photos": record["trained_on"], **{key: record[key] for key in KEPT if key in record}}
    if (run / "validation.csv").is_file():
        people = read_validation(run / "validation.csv", tasks).people
        facts["held_out"] = {"photos": len(people), "people": len(set(people))}
        facts["note"] = note
    return facts


def group_facts(run: Path, tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """The share of right predictions in groups of held-out photos, worst first; none if nobody was held out."""
    if not (run / "validation.csv").is_file():
        return []
    table = group_table(read_validation(run / "validation.csv", tasks), tasks)
    rows = table.select("group", "photos", "people", "accuracy", "low", "high").to_dicts()
    return [{key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()} for row in rows]
