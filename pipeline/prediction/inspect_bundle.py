"""What a bundle says about itself, as tables; no network is loaded."""

from pathlib import Path
from typing import Any

from classify.inference.bundle_check import tasks_of_network
from classify.inference.bundle_files import open_bundle
from pipeline.console import Console


def show_bundle(path: Path, console: Console, next_step: str) -> None:
    """Print a bundle's tasks, networks, crop and scores; with --json its bundle.json and digest.

    Raises:
        BundleError: there is no bundle, or it is damaged.
    """
    files = open_bundle(path)
    description = files.description
    rules = description.get("decision_rules", description.get("verdicts", {}))
    rows: list[list[object]] = []
    for name, task in description.get("tasks", {}).items():
        rule, score = rules.get(name, {}), description.get("metrics", {}).get(name, {})
        factors = ", ".join(f"{factor:g}" for factor in rule.get("factors", []))
        rows.append([name, ", ".join(task["classes"]), rule.get("temperature", 1.0), factors, score.get("macro_f1")])
    console.table("Tasks", ["task", "classes", "temperature", "factors", "macro-F1"], rows)

    rows = []
    for name, network in description.get("models", {}).items():
        model, predicted = network["model"], tasks_of_network(name, network)
        size = "x".join(map(str, model["input"]))
        megabytes = files.size(network["file"]) / 1e6
        rows.append([name, model["backbone"], size, ", ".join(predicted), round(megabytes, 1), network["sha256"][:12]])
    console.table("Networks", ["network", "backbone", "input", "predicts", "MB", "sha256"], rows)

    crop: dict[str, Any] = description.get("crop", {})
    settings = {**crop.get("detect", {}), **crop.get("crop", {})}
    shown = ("detector", "second", "mode", "margin", "align", "max_height")
    console.table("Crop", ["setting", "value"], [[key, settings[key]] for key in shown if key in settings])

    data, written_by = description.get("data", {}), description.get("written_by", {})
    lines = [f"Bundle: {path}, format {description['format']}, sha256 {files.digest[:12]}"]
    if data:
        lines.append(f"Trained on {data['photos']:,} photos of {data['people']:,} people")
    lines.append(f"Licence: {description.get('card', {}).get('license', 'unknown')}")
    if written_by:
        lines.append("Written by " + ", ".join(f"{name} {written_by[name]}" for name in written_by))
    record = {**description, "bundle": str(path), "digest": files.digest, "files": files.names()}
    console.done(record, text="\n".join(lines), next_step=next_step)
