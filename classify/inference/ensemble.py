"""Several bundles that predict together: which ones, how much each counts, and how their mean becomes an answer.

folders of bundles, or the folder that `faceline vote` wrote -> Ensemble.

The bundles may need different crops and sizes: each gets what it was trained on, and only probabilities are combined.
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
from classify.inference.bundle_files import open_bundle
from classify.inference.decision import DecisionRule, Probabilities
from classify.tasks import Task

FORMAT = 2
VOTES = "votes.json"
# Above 0, so that a photo that only a bundle with weight 0 can read is still predicted, by that bundle.
LEAST_WEIGHT = 1e-9


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Bundles that predict the same tasks."""

    bundles: tuple[Bundle, ...]  # at least one; the first says where a photo's face is
    # per task, how much each bundle counts; equal where there are none
    weights: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    # per task, how the bundles' mean becomes an answer; argmax where there is none
    decision_rules: Mapping[str, DecisionRule] = field(default_factory=dict[str, DecisionRule])
    decide: str = ""  # what factors were fitted for, as `predict.decide` has it; empty if that is not known
    # the folders that it was read from, each with the sha256 of its bundle.json or votes.json
    origins: tuple[tuple[Path, str], ...] = ()

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that all bundles predict."""
        return self.bundles[0].tasks

    def decision_rule(self, task: str) -> DecisionRule:
        """How a task's mean probabilities become an answer."""
        return self.decision_rules.get(task, DecisionRule())

    @property
    def dropped_factors(self) -> list[str]:
        """Tasks whose factors in a bundle are not used: they were fitted to its own probabilities, not to a mean."""
        return [
            task.name
            for task in self.tasks
            if any(bundle.decision_rule(task.name).factors for bundle in self.bundles)
            and not self.decision_rule(task.name).factors
        ]

    def mean(
        self, task: str, parts: Sequence[Probabilities], rows: Sequence[NDArray[np.intp]], photos: int
    ) -> Probabilities:
        """Average one task's probabilities over the bundles, for the photos that the first bundle could read.

        Args:
            task: its name.
            parts: of each bundle k, (N_k, C) calibrated probabilities.
            rows: of each bundle k, (N_k,) which of the photos it could read.
            photos: how many there are in all.

        Returns:
            (N_0, C), calibrated with the temperature of the ensemble's decision rule.
        """
        total = np.zeros((photos, parts[0].shape[1]))
        weight_sum = np.zeros((photos, 1))
        weights = self.weights.get(task, (1.0,) * len(parts))
        for weight, part, part_rows in zip(weights, parts, rows, strict=True):
            total[part_rows] += max(weight, LEAST_WEIGHT) * part
            weight_sum[part_rows] += max(weight, LEAST_WEIGHT)
        mean = (total[rows[0]] / weight_sum[rows[0]]).astype(np.float32)
        return self.decision_rule(task).calibrated(mean)


def single(bundle: Bundle) -> Ensemble:
    """An ensemble of one bundle; its probabilities are calibrated already, so the temperature is 1."""
    rules = {name: replace(rule, temperature=1.0) for name, rule in bundle.decision_rules.items()}
    return Ensemble((bundle,), {}, rules, bundle.decide)


def load_ensemble(folders: Sequence[Path]) -> Ensemble:
    """Read bundles that count equally, or the one folder that `faceline vote` wrote.

    Raises:
        BundleError: a bundle is missing or damaged, has changed since it was weighed, or predicts other tasks.
    """
    weighed = [folder for folder in folders if (folder / VOTES).is_file()]
    if weighed and len(folders) > 1:
        raise BundleError(
            f"{weighed[0]} has weights for its own bundles only; name it alone, or weigh all with "
            "`faceline vote RUN RUN ... --out DIR`"
        )
    if weighed:
        return _load_weighed(weighed[0])
    bundles = [load_bundle(folder) for folder in folders]
    origins = tuple((folder, digest_of(folder)) for folder in folders)
    refuse_other_tasks(bundles, folders)
    if len(bundles) == 1:
        return replace(single(bundles[0]), origins=origins)
    # Factors were fitted to one bundle's probabilities and do not hold for a mean.
    rules = {name: DecisionRule(unsure_below=rule.unsure_below) for name, rule in bundles[0].decision_rules.items()}
    return Ensemble(tuple(bundles), {}, rules, origins=origins)


def refuse_other_tasks(bundles: Sequence[Bundle], folders: Sequence[Path]) -> None:
    """Require the same tasks with the same classes in the same order: other probabilities can't be averaged.

    Raises:
        BundleError: two bundles predict different tasks or classes; the message names both.
    """
    first = {task.name: task for task in bundles[0].tasks}
    for bundle, folder in zip(bundles[1:], folders[1:], strict=True):
        other = {task.name: task for task in bundle.tasks}
        where = f"{folders[0]} and {folder} can't be combined"
        if list(other) != list(first):
            raise BundleError(f"{where}: the first predicts {', '.join(first)} and the other {', '.join(other)}")
        for name, task in other.items():
            if (task.classes, task.edges) != (first[name].classes, first[name].edges):
                raise BundleError(
                    f"{where}: {name} has the classes {', '.join(first[name].classes)} in the first and "
                    f"{', '.join(task.classes)} in the other, or other edges"
                )


def digest_of(bundle: Path) -> str:
    """The sha256 of bundle.json, which contains the sha256 of every weights file."""
    return open_bundle(bundle).digest


def _load_weighed(folder: Path) -> Ensemble:
    """Read votes.json and the bundles that it names."""
    path = folder / VOTES
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] > FORMAT:
            raise BundleError(f"{path} was written by a newer faceline (format {content['format']}); upgrade faceline")

        # The bundles are the ones that were weighed.
        folders = [folder / entry["path"] for entry in content["bundles"]]
        for entry, bundle_folder in zip(content["bundles"], folders, strict=True):
            if digest_of(bundle_folder) != entry["sha256"]:
                raise BundleError(f"{bundle_folder} is not the bundle that {path} weighed; run `faceline vote` again")
        bundles = [load_bundle(bundle_folder) for bundle_folder in folders]
        refuse_other_tasks(bundles, folders)

        # Weights and decision rules, which format 1 called "verdicts".
        weights = {task.name: tuple(map(float, content["weights"][task.name])) for task in bundles[0].tasks}
        if any(len(w) != len(bundles) or min(w) < 0 or sum(w) <= 0 for w in weights.values()):
            raise KeyError("weights")
        rules = content["verdicts"] if content["format"] == 1 else content["decision_rules"]
        decision_rules = {name: DecisionRule(**entry) for name, entry in rules.items()}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OSError) as error:
        raise BundleError(f"{path} lacks or misstates {error}; run `faceline vote` again") from error
    digest = hashlib.sha256(path.read_bytes()).hexdigest()  # it has the digests of the bundles
    return Ensemble(tuple(bundles), weights, decision_rules, content.get("decide", ""), ((folder, digest),))
