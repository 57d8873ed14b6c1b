"""Names on disk: of a unit, by its members, and of a crop, by its photo."""

import hashlib
from collections.abc import Container, Sequence

UNIT_NAME_LENGTH = 32


def unit_name(sources: Sequence[str], retry: int = 0) -> str:
    """Return the name of the unit with these members; `retry` counts how often they were tried again."""
    members = [*sorted(sources), *([f"retry {retry}"] if retry else [])]
    return hashlib.sha256("\n".join(members).encode()).hexdigest()[:UNIT_NAME_LENGTH]


def crop_name(source: str, suffix: str, taken: Container[str] = ()) -> str:
    """Return the file name of a photo's crop: the first 16 digits of its source id, or all if that name is `taken`."""
    short = f"{source[:16]}{suffix}"
    return f"{source}{suffix}" if short in taken else short
