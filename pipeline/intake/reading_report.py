"""Show how a data set was read: what was passed over, what was read otherwise than it is written, and what is risky.

Every command that reads photos calls `show_reading`, so that nothing is left out without a word.
"""

from typing import Any

from pipeline.console import Console
from pipeline.intake.photo import Dataset
from pipeline.intake.photo_files import skipped_text

RISKS = frozenset({"no person column", "person on both sides"})  # kinds of defects that make scores too good


def show_reading(dataset: Dataset, console: Console, *, scores: bool = False) -> None:
    """Print a line for each remark, one for all that was passed over, and with `scores` a warning for each risk."""
    for note in dataset.notes:
        console.line(note)
    if passed_over := skipped_text(dataset.skipped):
        console.line(f"passed over: {passed_over}")
    for defect in dataset.defects if scores else ():
        if defect.kind in RISKS:
            console.warn(f"{defect.where}: {defect.message}")


def reading_json(dataset: Dataset) -> dict[str, Any]:
    """The same for a command's JSON object."""
    return {"skipped": dict(dataset.skipped), "notes": list(dataset.notes)}
