"""Small run folders, written file by file: what `runs`, `runs diff` and `submit` read."""

import json
from pathlib import Path

import polars as pl

from pipeline.settings import load_settings

MASK = ["tasks.gender=null", "tasks.age=null"]  # runs of one task with the classes wear, incorrect, normal


def write_run(folder: Path, *, answers=(), truth=(), status="finished", settings=(), start="2026-01-01", **record):
    """A run of the task mask that held out a person per answer; the codes of `truth` default to those of `answers`."""
    folder.mkdir(parents=True)
    chosen = load_settings(None, [*MASK, *settings])
    (folder / "config.yaml").write_text(chosen.as_yaml())
    described = {"command": ["/bin/faceline", "train", "my data"], "status": status, "start": start, **record}
    (folder / "run.json").write_text(json.dumps(described))
    (folder / "data.json").write_text(json.dumps({"data_fingerprint": "d" * 16, "people": len(answers)}))
    line = {"task": "mask", "epoch": 1, "train_loss": 0.5, "seconds": 2.5}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    if not answers:
        return folder
    classes = chosen.task_list()[0].classes
    columns = {
        "path": [f"{row}.jpg" for row in range(len(answers))],
        "person": [f"p{row}" for row in range(len(answers))],
        "source": [f"s{row}" for row in range(len(answers))],
        "fold": [0] * len(answers),
        "true_mask": list(truth or answers),
        "mask": [classes[code] for code in answers],
        **{f"p_mask_{name}": [float(code == number) for code in answers] for number, name in enumerate(classes)},
        "class": list(answers),
    }
    pl.DataFrame(columns).write_csv(folder / "validation.csv")
    score = sum(a == b for a, b in zip(answers, truth or answers, strict=True)) / len(answers)
    figures = {"macro_f1": score, "low": 0.0, "high": 1.0, "accuracy": score}
    bundle = {
        "tasks": {"mask": {"classes": list(classes), "edges": [], "range": None}},
        "metrics": {"joint": figures, "mask": figures},
    }
    (folder / "bundle").mkdir()
    (folder / "bundle" / "bundle.json").write_text(json.dumps(bundle))
    return folder
