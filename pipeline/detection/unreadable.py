"""What is said about photos without a crop: how many there are, why, and the names of the first few."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from cache.errors import DetectionError
from cache.sources import hash_files
from cache.unit import OK, Entry
from detect.failures import is_passing
from pipeline.console import Console
from pipeline.intake.photo import Photo

NAMED = 3  # photos that are named with their reasons
REASONS = {
    "empty_file": "empty",
    "not_an_image": "no image",
    "truncated": "truncated",
    "too_large": "larger than data.max_megapixels",
    "unreadable": "damaged",
    "missing": "missing or not readable",
    "changed": "changed while it was read",
    "no_decoder": "of a format that needs an extra",
    "no_memory": "too large for the memory",
    "detector_error": "where the detector failed",
    "encrypted": "encrypted",
    "crashed": "that made the decoder crash",
}


def in_words(reasons: Mapping[str, int]) -> str:
    """Return the counts per reason as a list, the most frequent first."""
    counts = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {REASONS.get(reason, reason)}" for reason, count in counts)


def report_unreadable(photos: Sequence[Photo], entry: Callable[[Photo], Entry], console: Console) -> None:
    """Print one line about photos that can't be read, and one about those that the next run tries again."""
    failures = [(photo.name, failure) for photo in photos if (failure := entry(photo)).outcome != OK]
    report_failures(failures, len(photos), console)


def report_failures(failures: Sequence[tuple[str, Entry]], photos: int, console: Console) -> None:
    """Do the same for failures with their photos' names; `photos` counts all, also those that could be read."""
    lasting = [item for item in failures if not is_passing(item[1])]
    passing = [item for item in failures if is_passing(item[1])]
    if lasting:
        console.line(f"{len(lasting):,} of {photos:,} photos can't be read: {_summary(lasting)}")
    if passing:
        retried = "could not be read this time, and are tried again by the next run"
        console.warn(f"{len(passing):,} of {photos:,} photos {retried}: {_summary(passing)}")


def why_missing(path: Path) -> str:
    """Return why a file can't be read, or that it could not be."""
    error = _reading_errors([path])[path]
    return f"cannot be read: {error.strerror}" if error else "the file could not be read before"


def require_a_readable_file(photos: Sequence[Photo]) -> None:
    """Make sure that a disk or its permissions do not keep all files of several photos from being read.

    Raises:
        DetectionError: they do. Files that do not exist are another matter: the check of the data names them.
    """
    errors = _reading_errors(photo.path for photo in photos)
    if len(errors) > 1 and all(error and not isinstance(error, FileNotFoundError) for error in errors.values()):
        listed = "\n".join(f"{path}: {error.strerror}" for path, error in list(errors.items())[:NAMED] if error)
        raise DetectionError(
            f"none of the {len(errors):,} files can be read at the moment:\n{listed}\n"
            "No photo is recorded as unreadable for that. When the cause is mended, run the same command again."
        )


def _reading_errors(paths: Iterable[Path]) -> dict[Path, OSError | None]:
    return {path: result if isinstance(result, OSError) else None for path, result in hash_files(paths).items()}


def _summary(failures: Iterable[tuple[str, Entry]]) -> str:
    listed = list(failures)
    named = "; ".join(f"{name}: {entry.facts.get('sentence', '')}" for name, entry in listed[:NAMED])
    more = f"; and {len(listed) - NAMED:,} more" if len(listed) > NAMED else ""
    return f"{in_words(Counter(entry.outcome for _, entry in listed))}. {named}{more}"
