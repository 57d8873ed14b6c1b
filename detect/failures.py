"""Why a photo has no crop, and which of these reasons the cache keeps.

Failure -> an Entry that the cache keeps if the photo's bytes alone decide it, and otherwise only this run.

What is no property of the bytes, such as a full memory, a file that is away for a moment or an error of a GPU, is a
passing fault: the next run tries the photo again by itself.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cache.unit import OK, Entry
from detect.formats import FORMATS

Reason = Literal[
    "empty_file", "not_an_image", "truncated", "too_large", "unreadable",
    "missing", "changed", "no_decoder", "no_memory", "detector_error", "encrypted", "crashed",
]  # fmt: skip
KEPT = frozenset({OK, "empty_file", "not_an_image", "truncated", "too_large", "unreadable"})
# What befalls all photos at once. A missing decoder does not: other formats can still be read.
COMMON_CAUSES = frozenset({"missing", "changed", "no_memory"})
MAX_MEGAPIXELS = 100.0

DAMAGED = "the image is damaged: "
NO_MEMORY = re.compile(r"out of memory|(insufficient|not enough|allocate) memory|bad_alloc|MemoryError", re.IGNORECASE)
NO_DECODER = re.compile(r"(decoder|support) .*not (available|installed)|no decoding plugin", re.IGNORECASE)
# Messages of earlier versions, which kept passing faults under the reason "unreadable".
FORMERLY_KEPT = re.compile(rf"the detector failed on it: |{DAMAGED}($|\[Errno )")
PIXELS = re.compile(r"(\d+)x(\d+) pixels")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one photo could not be used. A value, because one bad photo never stops a run."""

    path: Path
    reason: Reason
    message: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])  # what decides whether it is tried again

    def entry(self, source: str) -> Entry:
        """Return the failure as the entry of a source id."""
        return Entry(source, str(self.path), self.reason, {"sentence": self.message, **self.facts})


def is_passing(entry: Entry) -> bool:
    """Whether the failure is no property of the photo's bytes, so that the cache must not keep it."""
    return entry.outcome not in KEPT


def failure_of(error: Exception, path: Path, what: str) -> Failure:
    """Return an error of the detector or of cutting as a passing fault: none of them is decided by the bytes alone."""
    return Failure(path, "no_memory" if is_memory_error(error) else "detector_error", f"{what}: {first_line(error)}")


def is_memory_error(error: BaseException) -> bool:
    """Whether the error says, in the words of one of the libraries, that there was not enough memory."""
    return isinstance(error, MemoryError) or bool(NO_MEMORY.search(f"{type(error).__name__} {error}"))


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    return (str(error).strip() or type(error).__name__).partition("\n")[0]


def retry_rule(max_megapixels: float = MAX_MEGAPIXELS, *, everything: bool = False) -> Callable[[Entry], bool]:
    """Return the rule that says which failures in the cache are tried again.

    Without `everything`: the passing faults that earlier versions kept, photos that were too large for a lower limit
    than `max_megapixels`, and files of a format that was not known when they were tried.
    """

    def is_due(entry: Entry) -> bool:
        if everything or is_passing(entry):
            return True
        sentence = entry.facts.get("sentence", "")
        if entry.outcome == "unreadable":
            return any(pattern.search(sentence) for pattern in (FORMERLY_KEPT, NO_MEMORY, NO_DECODER))
        if entry.outcome == "not_an_image":
            return entry.facts.get("formats") != list(FORMATS)
        return entry.outcome == "too_large" and _pixels(entry) <= max_megapixels * 1e6

    return is_due


def _pixels(entry: Entry) -> int:
    """Return the pixels of a photo that was too large; earlier versions name them in the sentence only."""
    if "pixels" in entry.facts:
        return int(entry.facts["pixels"])
    size = PIXELS.search(entry.facts.get("sentence", ""))
    return int(size[1]) * int(size[2]) if size else 0  # 0: unknown, so it is tried
