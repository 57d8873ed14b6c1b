"""Labels that are no class of their task, no number, or a number out of range: one defect per task, not one per row.

In: each such label and where it stands. Out: Defects that count the labels and say which classes they may mean.
"""

import difflib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from classify.tasks import Task
from pipeline.intake.photo import Defect

SHOWN_LABELS, SHOWN_PLACES = 8, 3
SYNONYMS = (
    {"male", "man", "men", "m", "boy", "masculine"},
    {"female", "woman", "women", "f", "w", "girl", "feminine"},
    {"wear", "wearing", "worn", "mask", "masked", "with_mask", "with mask", "correct"},
    {"incorrect", "incorrectly", "wrong", "mask_weared_incorrect", "incorrect_mask", "improper"},
    {"normal", "none", "no mask", "no_mask", "without_mask", "without mask", "unmasked", "bare"},
)


@dataclass
class UnknownLabels:
    """Collects the labels of a data set that its tasks don't have."""

    # task and remedy -> each label as written, and where it stands
    _places: dict[tuple[Task, str], list[tuple[str, str]]] = field(
        default_factory=dict[tuple[Task, str], list[tuple[str, str]]]
    )

    def add(self, task: Task, label: str, where: str, remedy: str) -> None:
        """Add one, with the row or folder where it stands and a sentence on what to do there."""
        self._places.setdefault((task, remedy), []).append((label, where))

    def defects(self, place: Callable[[Sequence[str]], str] = ", ".join) -> Iterator[Defect]:
        """Yield a fatal defect for each task and remedy.

        Args:
            place: says in which of the given rows or folders the labels stand.
        """
        for (task, remedy), labels in self._places.items():
            more = f" and {len(labels) - SHOWN_PLACES:,} more" if len(labels) > SHOWN_PLACES else ""
            message = f"{task.name}: {_describe(task, Counter(label for label, _ in labels))} {remedy}"
            where = place([where for _, where in labels[:SHOWN_PLACES]]) + more
            yield Defect("unknown label", where, message, fatal=True)


def _describe(task: Task, labels: Mapping[str, int]) -> str:
    """The labels with their counts, by what is wrong with them, and what they may mean."""
    by_reason: defaultdict[str, list[str]] = defaultdict(list)
    for label in labels:
        by_reason[_reason(task, label)].append(label)
    parts: list[str] = []
    for reason, wrong in by_reason.items():
        shown = [f"{label!r} x{labels[label]:,}" for label in wrong[:SHOWN_LABELS]]
        more = f" and {len(wrong) - SHOWN_LABELS:,} others" if len(wrong) > SHOWN_LABELS else ""
        parts.append(f"{', '.join(shown)}{more} {'is' if len(wrong) == 1 else 'are'} {reason}")
    meant = {label: similar for label in labels if (similar := _similar(task, label))}
    if not meant:
        return f"{'; '.join(parts)}."
    guesses = " and ".join(f"{similar} for {label!r}" for label, similar in list(meant.items())[:SHOWN_LABELS])
    question = f"did you mean {guesses}?"
    if len(meant) == len(labels) and sorted(meant.values()) == sorted(task.classes):
        names = {similar: label for label, similar in meant.items()}
        classes = ", ".join(names[name] for name in task.classes)
        question += f" To use the table's words: --set 'tasks.{task.name}.classes=[{classes}]'."
    return f"{'; '.join(parts)}; {question}"


def _reason(task: Task, label: str) -> str:
    if not task.edges:
        return f"none of {', '.join(task.classes)}"
    try:
        float(label)
    except ValueError:
        return "not a number"
    return f"not between {task.low:g} and {task.high:g}"


def _similar(task: Task, label: str) -> str:
    """The class that a label may mean: one with the same meaning, or else the one that is spelt most like it."""
    if task.edges:
        return ""
    word = label.casefold().strip()
    for words in SYNONYMS:
        same = [name for name in task.classes if name.casefold() in words]
        if word in words and len(same) == 1:
            return same[0]
    by_spelling = {name.casefold(): name for name in task.classes}
    return next((by_spelling[name] for name in difflib.get_close_matches(word, by_spelling, n=1)), "")
