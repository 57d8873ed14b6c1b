"""Scores on photos that the networks were not trained on.

In: the probabilities of each network for its held-out photos. Out: RUN/validation.csv, RUN/calibration.json, the scores
and the fitted decision rules.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache import atomic
from classify.data.sample import Sample
from classify.evaluation.metrics import Codes, Score, score_tasks
from classify.inference.bundle import TrainedNetwork
from classify.inference.calibration import calibration_error, log_loss
from classify.inference.decision import DecisionRule, Probabilities, mean_probabilities
from classify.inference.decision_fit import (
    NetworkCounts,
    Temperatures,
    fit_decision_rules,
    fit_temperatures,
    rule_for_voting,
)
from classify.inference.ensemble_weights import FitRules, cross_fit
from classify.tasks import UNLABELLED, Task
from pipeline.console import Console
from pipeline.prediction.predict import prediction_columns
from pipeline.run_record import write_json
from pipeline.safe_csv import csv_text
from pipeline.settings import PredictConfig


@dataclass(frozen=True, slots=True)
class HeldOutScores:
    """What held-out people reveal about a run's networks."""

    scores: Mapping[str, Score]  # "joint" and one per task; empty if nobody was held out
    decision_rules: Mapping[str, DecisionRule]  # per task, for the mean of all networks
    # per task, the temperature of the mean of the networks that held a person out
    held_out_temperatures: Mapping[str, float]


class HeldOut:
    """The probabilities of held-out photos, collected as networks finish training."""

    def __init__(self, tasks: Sequence[Task], samples: Sequence[Sample]) -> None:
        self._tasks, self._samples = tasks, samples
        # Per task: each photo's 1st, 2nd ... prediction, (M, C); how many it has, (M,); how many networks there are
        self._parts: dict[str, list[Probabilities]] = {task.name: [] for task in tasks}
        self._counts = {task.name: np.zeros(len(samples), np.intp) for task in tasks}
        self._voting = {task.name: 0 for task in tasks}

    def add(
        self, network: TrainedNetwork, rows: NDArray[np.intp], predicted: Sequence[Probabilities], *, votes: bool = True
    ) -> None:
        """Add a network's probabilities for the samples `rows` that it has not seen: (N, C) for each of its tasks.

        `votes` says whether the network also predicts new photos.
        """
        for task, task_probabilities in zip(network.heads.tasks, predicted, strict=True):
            parts, counts = self._parts[task.name], self._counts[task.name]
            for number in np.unique(counts[rows]).tolist():
                if number == len(parts):
                    parts.append(np.zeros((len(self._samples), len(task.classes)), np.float32))
                chosen = counts[rows] == number
                parts[number][rows[chosen]] = task_probabilities[chosen]
            counts[rows] += 1
            self._voting[task.name] += votes

    def finish(self, run: Path, predict: PredictConfig, console: Console) -> HeldOutScores:
        """Write validation.csv and calibration.json, or neither if nothing was held out.

        The probabilities and answers of each photo come from rules that were fitted to other people, so that the scores
        hold for new people. The returned rules are fitted to all held-out people, and hold for all networks together:
        a new photo may be predicted by more of them than a held-out one.
        """
        tasks = self._tasks
        rows = np.flatnonzero(np.min([self._counts[task.name] for task in tasks], axis=0))
        if not len(rows):
            return HeldOutScores({}, {task.name: DecisionRule(unsure_below=predict.unsure) for task in tasks}, {})
        samples = [self._samples[row] for row in rows.tolist()]
        people = [sample.person for sample in samples]
        true_codes = {
            task.name: np.array([sample.codes[index] for sample in samples], np.intp)
            for index, task in enumerate(tasks)
        }
        parts = {task.name: np.stack(self._parts[task.name])[:, rows] for task in tasks}  # (networks, N, C) each
        counts = {task.name: NetworkCounts(len(parts[task.name]), self._voting[task.name]) for task in tasks}

        # Decision rules, and what they make of people that they were not fitted to
        fit = decision_rules_fit(predict)
        means = {name: mean_probabilities(list(task_parts)) for name, task_parts in parts.items()}
        held_out_rules = fit(means, true_codes)
        probabilities, answers = cross_fit({name: mean[None] for name, mean in means.items()}, true_codes, people, fit)

        # Rules for new photos
        decision_rules: dict[str, DecisionRule] = {}
        calibration: dict[str, dict[str, Any]] = {}
        for name, rule in held_out_rules.items():
            labelled = true_codes[name] != UNLABELLED
            decision_rules[name] = rule
            if labelled.any():
                truth = true_codes[name][labelled]
                temperatures = fit_temperatures(parts[name][:, labelled], truth, counts[name])
                decision_rules[name] = rule_for_voting(rule, temperatures, calibrate=predict.calibrate)
                before, after = means[name][labelled], probabilities[name][labelled]
                calibration[name] = {
                    **decision_rules[name].as_json(),
                    **_describe_fit(counts[name], temperatures),
                    "error_before": round(calibration_error(before, truth, before.argmax(axis=1)), 4),
                    "error": round(calibration_error(after, truth, answers[name][labelled]), 4),
                    "log_loss_before": round(log_loss(before, truth), 4),
                    "log_loss": round(log_loss(after, truth), 4),
                }
        _say_what_is_assumed(counts, predict, console)

        # Files
        columns: dict[str, Any] = {
            "path": [sample.name for sample in samples],
            "person": people,
            "source": [sample.source for sample in samples],
            "fold": [sample.fold for sample in samples],
            **{f"true_{name}": truth for name, truth in true_codes.items()},
            **prediction_columns(tasks, probabilities, answers, decision_rules),
        }
        atomic.write_text(run / "validation.csv", csv_text(pl.DataFrame(columns)))
        write_json(run / "calibration.json", calibration)
        scores = score_tasks(tasks, true_codes, answers, people)
        if predict.decide != "probable":
            _say_what_factors_change(tasks, true_codes, probabilities, people, scores, console)
        held_out_temperatures = {name: rule.temperature for name, rule in held_out_rules.items()}
        return HeldOutScores(scores, decision_rules, held_out_temperatures)


def decision_rules_fit(predict: PredictConfig) -> FitRules:
    """Return the function that fits what the settings request: temperatures, factors, or neither."""
    return partial(fit_decision_rules, calibrate=predict.calibrate, decide=predict.decide, unsure_below=predict.unsure)


def _describe_fit(counts: NetworkCounts, temperatures: Temperatures) -> dict[str, Any]:
    """What calibration.json says about how a task's rule was fitted."""
    return {
        "networks_held_out": counts.held_out,
        "networks_voting": counts.voting,
        "temperature_single": temperatures.single,
        "temperature_held_out": temperatures.held_out,
        "fitted_to": counts.fitted_to,
    }


def _say_what_is_assumed(counts: Mapping[str, NetworkCounts], predict: PredictConfig, console: Console) -> None:
    """Print that the temperature of a mean could not be measured, where each person has a single prediction."""
    voting = max((c.voting for c in counts.values() if c.held_out == 1), default=1)
    if voting > 1 and (predict.calibrate or predict.decide != "probable"):
        console.line(
            f"Each held-out person is predicted by one network, and new photos by {voting}: the temperature of their "
            "mean is assumed, not measured. --set split.leave_out=2, with four folds or more, measures it."
        )


def _say_what_factors_change(
    tasks: Sequence[Task],
    true_codes: Mapping[str, Codes],
    probabilities: Mapping[str, Probabilities],
    people: Sequence[str],
    scores: Mapping[str, Score],
    console: Console,
) -> None:
    """Print the macro-F1 of the held-out people with factors, and without."""
    most_probable = {name: task_probabilities.argmax(axis=1) for name, task_probabilities in probabilities.items()}
    without = score_tasks(tasks, true_codes, most_probable, people)
    changes = [f"{name} {without[name].macro_f1:.3f} to {score.macro_f1:.3f}" for name, score in scores.items()]
    console.line(f"Factors change the macro-F1 of held-out people from that of the most probable: {', '.join(changes)}")
