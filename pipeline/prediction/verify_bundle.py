"""Whether a bundle is whole: every file is there and unchanged, and its parts fit together and to this version.

path -> the problems, each in a sentence, and notes on what is no problem but good to know.
"""

from dataclasses import dataclass
from pathlib import Path

from cache.errors import BundleError, UsageError
from classify.inference.bundle import load_trained_network
from classify.inference.bundle_check import description_problems
from classify.inference.bundle_files import CARD, DESCRIPTION, BundleFiles, open_bundle
from classify.tasks import read_task
from pipeline.prediction.crop_settings import read_crop_settings


@dataclass(frozen=True, slots=True)
class Verified:
    """The outcome."""

    files: int  # that were checked, without bundle.json and README.md
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def verify_bundle(path: Path) -> Verified:
    """Check every file of a bundle against its hash, and build every network with its weights.

    Raises:
        BundleError: there is no bundle, or its bundle.json can't be read.
    """
    files = open_bundle(path)
    problems = [f"{files.where(DESCRIPTION)} {problem}" for problem in description_problems(files.description)]
    if problems:
        return Verified(0, tuple(problems), ())
    tasks = tuple(read_task(name, entry) for name, entry in files.description["tasks"].items())
    for name in files.description["models"]:
        try:
            load_trained_network(files, name, tasks)
        except (BundleError, UsageError) as error:
            problems.append(str(error))
    entries = list(files.entries())
    for entry in entries[len(files.description["models"]) :]:
        try:
            files.checked(entry)
        except BundleError as error:
            problems.append(str(error))
    try:
        read_crop_settings(files.description["crop"])
    except (BundleError, UsageError) as error:
        problems.append(str(error))
    return Verified(len(entries), tuple(problems), tuple(_notes(files)))


def _notes(files: BundleFiles) -> list[str]:
    """What a bundle lacks or has besides, without being damaged."""
    notes: list[str] = []
    photos = files.description.get("trained_photos")
    if photos is None or not files.has(photos["file"]):
        notes.append("it does not know which photos it was trained on, so predict does not mark them")
    if not files.has(CARD):
        notes.append("it has no README.md; `faceline bundle card` makes one")
    known = {DESCRIPTION, CARD, *(entry["file"] for entry in files.entries())}
    if others := [name for name in files.names() if name not in known]:
        notes.append(f"these files are not the bundle's: {', '.join(others[:5])}{' ...' if len(others) > 5 else ''}")
    return notes
