"""`faceline cache stats`, `verify` and `gc`: what the cache holds, what is damaged, and what can go."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from cache.config import fingerprint
from cache.errors import UsageError
from cache.garbage import delete_garbage, find_garbage
from cache.remote import address
from cache.verify import stats, verify
from classify.inference.bundle_files import is_bundle, open_bundle
from detect.config import CropConfig, DetectConfig
from detect.fingerprints import crop_spec, detector_spec
from pipeline.console import counted
from pipeline.context import RunContext
from pipeline.settings import load_settings


def show_stats(context: RunContext, next_step: str = "") -> None:
    """Print what the cache holds, and how much of it is garbage whatever the settings."""
    location = address(context.cache)
    contents = stats(context.cache)
    crops, detections = contents["fingerprints"], contents["detections"]
    orphans = find_garbage(context.cache, [folder["fingerprint"] for folder in (*crops, *detections)])
    contents["orphans"] = {"count": len(orphans), "bytes": sum(orphan.size_bytes for orphan in orphans)}

    rows: list[list[object]] = []
    for folder in crops:
        failures, size = sum(folder["failed"].values()), f"{folder['bytes'] / 1e6:.1f} MB"
        rows.append([folder["fingerprint"][:16], folder["units"], folder["ok"], failures, size])
    if rows:
        columns = ["fingerprint", "units", "crops", "failures", "size"]
        context.console.table(f"Crops in {location}", columns, rows)
    readable = sum(folder["ok"] for folder in crops)
    text = f"{location}: {counted(len(rows), 'kind')} of crops, {counted(readable, 'crop')}."
    if orphans:
        gc = shlex.join(["faceline", "cache", "gc", "--cache", str(location)])
        text += f" {counted(len(orphans), 'orphan')} that nobody reads; list them with: {gc}"
    context.console.done(contents, text=text, next_step=next_step)


def verify_cache(context: RunContext, *, repair: bool) -> bool:
    """Check every file and print what is damaged; returns whether nothing is."""
    location = address(context.cache)
    report = verify(context.cache, repair=repair)
    rows = [[damage.unit, damage.file, damage.what] for damage in report.damaged]
    if rows:
        context.console.table("Damaged", ["unit", "file", "what"], rows)
    if not rows:
        text = f"{counted(report.units, 'unit')} and {counted(report.crops, 'crop')}, all as they were written."
    elif repair:
        text = f"{counted(len(rows), 'damaged file')}, whose units were set aside; the next detect makes them again."
    else:
        repair_command = shlex.join(["faceline", "cache", "verify", "--repair", "--cache", str(location)])
        text = f"{counted(len(rows), 'damaged file')}. Repair with: {repair_command}"
    context.console.done(report.as_json(), text=f"{location}: {text}")
    return not rows


def collect_garbage(keep: Sequence[Path], context: RunContext, *, delete: bool) -> None:
    """Print what neither the default settings nor those in `keep` need, and delete it if `delete`."""
    location = address(context.cache)
    used = _fingerprints_of(None)
    for path in keep:
        used += _fingerprints_of(path)
    garbage = find_garbage(context.cache, used)
    if garbage:
        rows = [[entry.place, entry.why, f"{entry.size_bytes / 1e6:.1f} MB"] for entry in garbage]
        context.console.table("Not needed", ["what", "why", "size"], rows)
    if delete:
        delete_garbage(context.cache, garbage)

    total = f"{sum(entry.size_bytes for entry in garbage) / 1e6:.1f} MB"
    if not garbage:
        text = "everything in it is needed."
    elif delete:
        text = f"{total} deleted."
    else:
        text = f"{total} can go. Name what is still needed with --keep, then add --delete."
    record = {"garbage": [asdict(entry) for entry in garbage], "deleted": delete}
    context.console.done(record, text=f"{location}: {text}")


def _fingerprints_of(path: Path | None) -> list[str]:
    """Fingerprints of crops and detection for a settings file, a run or a bundle; None: for the default settings."""
    if path is not None and is_bundle(path):
        record = open_bundle(path).description["crop"]
        detect, crop = DetectConfig(**record["detect"]), CropConfig(**record["crop"])
        return [record["fingerprint"], fingerprint(crop_spec(detect, crop)), fingerprint(detector_spec(detect))]
    if path is not None and path.is_dir():
        if not (path / "config.yaml").is_file():
            raise UsageError(f"--keep: {path} is no run and no bundle: it holds no config.yaml or bundle.json")
        path /= "config.yaml"
    settings = load_settings(path)
    spec = crop_spec(settings.detect, settings.crop)
    return [fingerprint(spec), fingerprint(spec["detector"])]
