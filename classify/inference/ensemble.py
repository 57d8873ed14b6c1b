"""Several bundles that vote as one: which, how much each counts, and what becomes of their mean.

folders of bundles, or the folder that `faceline vote` wrote -> Voters.

Bundles may look at other crops and other sizes: each gets what it was trained on, and only probabilities meet.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import BundleError
from classify.inference.bundle import Bundle, load_bundle
from classify.inference.decision import DecisionRule, Probabilities
from classify.tasks import Task

FORMAT = 1
VOTES = "votes.json"
# So that a photo that only a bundle without weight can read is told by that one.
LEAST = 1e-9


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Bundles that tell the same tasks.

    Attributes:
        bundles: at least one; the first says where a photo's face is.
        weights: per task, what each bundle counts; equal where there are none.
        verdicts: per task, what becomes of the bundles' mean; argmax where there is none.
    """

    bundles: tuple[Bundle, ...]
    weights: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    decision_rules: Mapping[str, DecisionRule] = field(default_factory=dict[str, DecisionRule])

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What all of them tell."""
        return self.bundles[0].tasks

    def decision_rule(self, task: str) -> DecisionRule:
        """What becomes of a task's mean."""
        return self.decision_rules.get(task, DecisionRule())

    def mean(
        self, task: str, told: Sequence[Probabilities], rows: Sequence[NDArray[np.intp]], photos: int
    ) -> Probabilities:
        """One task's probabilities of the photos that the first bundle reads.

        Args:
            task: its name.
            told: of each bundle, (N_k, C) calibrated.
            rows: of each bundle, (N_k,) the photos that it reads.
            photos: of all.

        Returns:
            (N_0, C) with the verdict's temperature.
        """
        total, counted = np.zeros((photos, told[0].shape[1])), np.zeros((photos, 1))
        for weight, own, at in zip(self.weights.get(task, (1.0,) * len(told)), told, rows, strict=True):
            total[at] += max(weight, LEAST) * own
            counted[at] += max(weight, LEAST)
        mixed = (total[rows[0]] / counted[rows[0]]).astype(np.float32)
        return self.decision_rule(task).calibrated(mixed)


def single(bundle: Bundle) -> Ensemble:
    """One bundle, whose own temperatures have made its probabilities what they are."""
    return Ensemble((bundle,), {}, {name: replace(one, temperature=1.0) for name, one in bundle.decision_rules.items()})


def load_ensemble(folders: Sequence[Path]) -> Ensemble:
    """Read bundles that vote with equal weights, or the one folder that `faceline vote` wrote.

    Raises:
        BundleError: a bundle is missing or damaged, was made anew since the vote was weighed, or tells something else.
    """
    weighed = [folder for folder in folders if (folder / VOTES).is_file()]
    if weighed and len(folders) > 1:
        raise BundleError(
            f"{weighed[0]} is a vote whose weights are for its own bundles; name it alone, or weigh all with "
            "`faceline vote RUN RUN ... --out DIR`"
        )
    if weighed:
        return _load_weighed(weighed[0])
    bundles = [load_bundle(folder) for folder in folders]
    refuse_other_tasks(bundles, folders)
    if len(bundles) == 1:
        return single(bundles[0])
    # Factors were fitted to one bundle's probabilities and say nothing of a mean.
    decision_rules = {
        name: DecisionRule(unsure_below=one.unsure_below) for name, one in bundles[0].decision_rules.items()
    }
    return Ensemble(tuple(bundles), {}, decision_rules)


def refuse_other_tasks(bundles: Sequence[Bundle], folders: Sequence[Path]) -> None:
    """Probabilities can be averaged only where the same is asked, with the same classes in the same order.

    Raises:
        BundleError: two bundles tell different things; the message names both.
    """
    first = {task.name: task for task in bundles[0].tasks}
    for bundle, folder in zip(bundles[1:], folders[1:], strict=True):
        own = {task.name: task for task in bundle.tasks}
        where = f"{folders[0]} and {folder} can't vote together"
        if list(own) != list(first):
            raise BundleError(f"{where}: the first tells {', '.join(first)} and the other {', '.join(own)}")
        for name, task in own.items():
            if (task.classes, task.edges) != (first[name].classes, first[name].edges):
                raise BundleError(
                    f"{where}: {name} has the classes {', '.join(first[name].classes)} in the first and "
                    f"{', '.join(task.classes)} in the other, or other edges"
                )


def digest_of(bundle: Path) -> str:
    """The sha256 of bundle.json, which has those of all weights."""
    try:
        return hashlib.sha256((bundle / "bundle.json").read_bytes()).hexdigest()
    except OSError as error:
        raise BundleError(f"{bundle} is no bundle: its bundle.json can't be read ({error})") from None


def _load_weighed(folder: Path) -> Ensemble:
    path = folder / VOTES
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if told["format"] > FORMAT:
            raise BundleError(f"{path} was written by a newer faceline (format {told['format']}); upgrade faceline")
        folders = [folder / one["path"] for one in told["bundles"]]
        for one, place in zip(told["bundles"], folders, strict=True):
            if digest_of(place) != one["sha256"]:
                raise BundleError(f"{place} is not the bundle that {path} weighed; run `faceline vote` again")
        bundles = [load_bundle(place) for place in folders]
        refuse_other_tasks(bundles, folders)
        weights = {task.name: tuple(map(float, told["weights"][task.name])) for task in bundles[0].tasks}
        if any(len(own) != len(bundles) or min(own) < 0 or sum(own) <= 0 for own in weights.values()):
            raise KeyError("weights")
        decision_rules = {name: DecisionRule(**facts) for name, facts in told["verdicts"].items()}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OSError) as error:
        raise BundleError(f"{path} lacks or misstates {error}; run `faceline vote` again") from error
    return Ensemble(tuple(bundles), weights, decision_rules)
