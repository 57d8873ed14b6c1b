"""Fit the decision rules of all tasks to held-out photos.

probabilities (N, C) and true class indices (N,) of each task -> a DecisionRule for each; and rules for the mean of more
networks than the held-out photos were predicted by.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from classify.evaluation.metrics import Codes
from classify.inference.calibration import fit_temperature, temperature_of_mean
from classify.inference.class_factors import fit_factors, fit_joint_factors, rescaled
from classify.inference.decision import DecisionRule, Probabilities, mean_probabilities
from classify.tasks import UNLABELLED

Decide = Literal["probable", "f1", "f1_per_task"]


def fit_decision_rules(
    probabilities: Mapping[str, Probabilities],
    true_codes: Mapping[str, Codes],
    *,
    calibrate: bool,
    decide: Decide,
    unsure_below: float,
) -> dict[str, DecisionRule]:
    """Fit to held-out photos what the settings request: temperatures, factors, or neither.

    Args:
        probabilities: per task, (N, C).
        true_codes: per task, (N,) class indices, -1 where unlabelled. A task without any label gets no temperature and
            no factors.
        calibrate: fit a temperature per task.
        decide: fit factors for the best macro-F1: f1 for that of the joint class, for which only photos with all labels
            count, from the factors that f1_per_task finds for each task.
        unsure_below: as the rules have it.
    """
    rules: dict[str, DecisionRule] = {}
    calibrated: dict[str, Probabilities] = {}
    for name, task_probabilities in probabilities.items():
        labelled = true_codes[name] != UNLABELLED
        some, some_codes = task_probabilities[labelled], true_codes[name][labelled]
        rule = DecisionRule(unsure_below=unsure_below)
        if calibrate and len(some):
            rule = replace(rule, temperature=fit_temperature(some, some_codes))
        if decide != "probable" and len(some):
            rule = replace(rule, factors=fit_factors(rule.calibrated(some), some_codes))
        rules[name], calibrated[name] = rule, rule.calibrated(task_probabilities)

    all_labelled = np.all([codes != UNLABELLED for codes in true_codes.values()], axis=0)
    if decide == "f1" and len(rules) > 1 and all_labelled.any():
        factors = fit_joint_factors(
            [task_probabilities[all_labelled] for task_probabilities in calibrated.values()],
            [true_codes[name][all_labelled] for name in rules],
            [rule.factors for rule in rules.values()],
        )
        rules = {name: replace(rule, factors=f) for (name, rule), f in zip(rules.items(), factors, strict=True)}
    return rules


@dataclass(frozen=True, slots=True)
class NetworkCounts:
    """How many networks a mean is of."""

    held_out: int  # networks that predicted each held-out photo; none has seen the person
    voting: int  # networks that predict a new photo

    @property
    def fitted_to(self) -> str:
        """What a rule for new photos was fitted to, as calibration.json says it."""
        if self.held_out == self.voting:
            return "the network that predicts" if self.voting == 1 else f"means of all {self.voting} networks"
        if self.held_out == 1:
            return f"single networks, corrected for {self.voting}"
        return f"single networks and means of {self.held_out}, extrapolated to {self.voting}"


@dataclass(frozen=True, slots=True)
class Temperatures:
    """The temperatures of a task's means of one, a few and all networks."""

    single: float
    held_out: float
    voting: float


def fit_temperatures(parts: Probabilities, true_codes: Codes, counts: NetworkCounts) -> Temperatures:
    """Fit the temperatures of single networks and of their means, and derive that of all that vote.

    Args:
        parts: (networks, N, C) held-out probabilities, of labelled photos.
        true_codes: (N,) class indices.
        counts: `held_out` is the length of `parts`.
    """
    held_out = fit_temperature(mean_probabilities(list(parts)), true_codes)
    single = held_out
    if counts.held_out > 1:
        single = fit_temperature(parts.reshape(-1, parts.shape[2]), np.tile(true_codes, len(parts)))
    voting = held_out
    if counts.held_out < counts.voting:
        voting = temperature_of_mean(single, held_out, counts.held_out, counts.voting)
    return Temperatures(single, held_out, voting)


def rule_for_voting(rule: DecisionRule, temperatures: Temperatures, *, calibrate: bool) -> DecisionRule:
    """Turn a rule for means of a few networks into one for the mean of all that vote.

    Factors belong to calibrated probabilities, which are the same on both sides. Without calibration, they are applied
    to probabilities p^T, with p the calibrated ones and T the temperature; for another T, the same answers need
    f^(T' / T).
    """
    if calibrate:
        return replace(rule, temperature=temperatures.voting)
    if not rule.factors:
        return rule
    return replace(rule, factors=rescaled(np.array(rule.factors) ** (temperatures.voting / temperatures.held_out)))
