"""Looking after the cache: `faceline cache stats`, `verify` and `gc`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from cache.config import fingerprint
from cache.errors import UsageError
from cache.garbage import delete_garbage, find_garbage
from cache.remote import address
from cache.verify import stats, verify
from detect.config import CropConfig, DetectConfig
from detect.spec import crop_spec, detector_spec
from pipeline.console import Console, cell
from pipeline.settings import load_settings


def show_stats(root: Path, console: Console) -> None:
    """Print what the cache holds."""
    place = address(root)
    held = stats(root)
    orphans = find_garbage(root, [one["fingerprint"] for one in (*held["fingerprints"], *held["detections"])])
    held["orphans"] = {"count": len(orphans), "bytes": sum(one.size_bytes for one in orphans)}
    rows = [
        [one["fingerprint"][:16], one["units"], one["ok"], sum(one["failed"].values()), f"{one['bytes'] / 1e6:.1f} MB"]
        for one in held["fingerprints"]
    ]
    if rows:
        console.table(f"Crops in {place}", ["fingerprint", "units", "crops", "failures", "size"], rows)
    text = f"{place}: {cell(len(rows))} kinds of crops, {cell(sum(int(row[2]) for row in rows))} crops."
    if orphans:
        text += f" {cell(len(orphans))} orphans that nobody reads; list them with: faceline cache gc"
    console.done(held, text=text, next_step="faceline cache verify")


def show_verify(root: Path, console: Console, *, repair: bool) -> bool:
    """Check everything, print what is damaged; True when nothing is."""
    place = address(root)
    found = verify(root, repair=repair)
    rows = [[one.unit, one.file, one.what] for one in found.damaged]
    if rows:
        console.table("Damaged", ["unit", "file", "what"], rows)
    if not rows:
        text = f"{place}: {cell(found.units)} units and {cell(found.crops)} crops, all as they were written."
    elif repair:
        text = f"{place}: {cell(len(rows))} damages; their units were set aside, and the next detect makes them again."
    else:
        text = f"{place}: {cell(len(rows))} damages. Mend with: faceline cache verify --repair --cache {place}"
    console.done(found.as_json(), text=text)
    return not rows


def show_garbage(root: Path, console: Console, keep: Sequence[Path], *, delete: bool) -> None:
    """Print what nothing in `keep` needs, nor the settings by default; delete it when asked."""
    place = address(root)
    used = [one for place in (None, *keep) for one in _fingerprints_of(place)]
    garbage = find_garbage(root, used)
    total = f"{sum(one.size_bytes for one in garbage) / 1e6:.1f} MB"
    if garbage:
        rows = [[one.place, one.why, f"{one.size_bytes / 1e6:.1f} MB"] for one in garbage]
        console.table("Not needed", ["what", "why", "size"], rows)
    if delete:
        delete_garbage(root, garbage)
    told = {"garbage": [asdict(one) for one in garbage], "deleted": delete}
    if not garbage:
        text = f"{place}: everything in it is needed."
    elif delete:
        text = f"{place}: {total} deleted."
    else:
        text = f"{place}: {total} can go. Name what is still needed with --keep, then add --delete."
    console.done(told, text=text)


def _fingerprints_of(place: Path | None) -> list[str]:
    """Of the crops and the detection of a settings file, a run or a bundle; of the default settings for None."""
    if place is not None and (place / "bundle.json").is_file():
        told = json.loads((place / "bundle.json").read_text(encoding="utf-8"))["crop"]
        detect, crop = DetectConfig(**told["detect"]), CropConfig(**told["crop"])
        return [told["fingerprint"], fingerprint(crop_spec(detect, crop)), fingerprint(detector_spec(detect))]
    if place is not None and place.is_dir():
        place = place / "config.yaml"
        if not place.is_file():
            raise UsageError(f"--keep: {place.parent} is no run and no bundle: it holds no config.yaml or bundle.json")
    settings = load_settings(place)
    spec = crop_spec(settings.detect, settings.crop)
    return [fingerprint(spec), fingerprint(spec["detector"])]
