"""Looking after the cache: `faceline cache stats` and `verify`."""

from pathlib import Path

from cache.verify import stats, verify
from pipeline.console import Show, cell


def show_stats(root: Path, show: Show) -> None:
    """Print what the cache holds."""
    held = stats(root)
    rows = [
        [one["fingerprint"][:16], one["units"], one["ok"], sum(one["failed"].values()), f"{one['bytes'] / 1e6:.1f} MB"]
        for one in held["fingerprints"]
    ]
    if rows:
        show.table(f"Crops in {root}", ["fingerprint", "units", "crops", "failures", "size"], rows)
    text = f"{root}: {cell(len(rows))} kinds of crops, {cell(sum(int(row[2]) for row in rows))} crops."
    show.done(held, text=text, next_step="faceline cache verify")


def show_verify(root: Path, show: Show, *, repair: bool) -> bool:
    """Check everything, print what is damaged; True when nothing is."""
    found = verify(root, repair=repair)
    rows = [[one.unit, one.file, one.what] for one in found.damaged]
    if rows:
        show.table("Damaged", ["unit", "file", "what"], rows)
    if not rows:
        text = f"{root}: {cell(found.units)} units and {cell(found.crops)} crops, all as they were written."
    elif repair:
        text = f"{root}: {cell(len(rows))} damages; their units were set aside, and the next detect makes them again."
    else:
        text = f"{root}: {cell(len(rows))} damages. Mend with: faceline cache verify --repair --cache {root}"
    show.done(found.as_json(), text=text)
    return not rows
