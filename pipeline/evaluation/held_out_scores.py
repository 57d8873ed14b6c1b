"""Scores on photos that the networks were not trained on.

In: the probabilities of each network for its held-out photos. Out: RUN/validation.csv, RUN/calibration.json, the scores
and the fitted decision rules.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from classify.data.sample import Sample
from classify.evaluation.metrics import Score, score_tasks
from classify.inference.bundle import TrainedNetwork
from classify.inference.calibration import Codes, calibration_error, fit_decision_rule
from classify.inference.decision import DecisionRule, Probabilities
from classify.inference.ensemble_weights import cross_fit
from classify.tasks import UNLABELLED, Task
from pipeline.prediction.predict import prediction_columns
from pipeline.run_record import write_json
from pipeline.settings import PredictConfig

Fit = Callable[[Probabilities, Codes], DecisionRule]  # (N, C) probabilities and (N,) true codes -> rule


class HeldOut:
    """The mean probabilities of held-out photos, summed up as networks finish training."""

    def __init__(self, tasks: Sequence[Task], samples: Sequence[Sample]) -> None:
        self._tasks, self._samples = tasks, samples
        self._sums = {task.name: np.zeros((len(samples), len(task.classes)), np.float32) for task in tasks}
        self._networks = {task.name: np.zeros(len(samples), np.float32) for task in tasks}

    def add(self, network: TrainedNetwork, rows: NDArray[np.intp], predicted: Sequence[Probabilities]) -> None:
        """Add a network's probabilities for the samples `rows`: (N, C) for each of its tasks."""
        for task, task_probabilities in zip(network.heads.tasks, predicted, strict=True):
            self._sums[task.name][rows] += task_probabilities
            self._networks[task.name][rows] += 1

    def finish(self, run: Path, predict: PredictConfig) -> tuple[dict[str, Score], dict[str, DecisionRule]]:
        """Write validation.csv and calibration.json, or neither if nothing was held out.

        The probabilities and answers of each photo come from rules that were fitted to other people, so that the scores
        hold for new people. The returned rules are fitted to all held-out people.

        Returns:
            The scores, "joint" and one per task, and the decision rule of each task.
        """
        tasks = self._tasks
        rows = np.flatnonzero(np.min([self._networks[task.name] for task in tasks], axis=0))
        if not len(rows):
            return {}, {task.name: DecisionRule(unsure_below=predict.unsure) for task in tasks}
        samples = [self._samples[row] for row in rows.tolist()]
        people = [sample.person for sample in samples]

        # Decision rules, and what they make of people that they were not fitted to
        fit = decision_rule_fit(predict)
        true_codes: dict[str, Codes] = {}
        probabilities: dict[str, Probabilities] = {}
        answers: dict[str, Codes] = {}
        decision_rules: dict[str, DecisionRule] = {}
        calibration: dict[str, dict[str, Any]] = {}
        for index, task in enumerate(tasks):
            mean = self._sums[task.name][rows] / self._networks[task.name][rows][:, None]
            truth = true_codes[task.name] = np.array([sample.codes[index] for sample in samples], np.intp)
            labelled = truth != UNLABELLED
            if not labelled.any():
                probabilities[task.name], answers[task.name] = mean, mean.argmax(axis=1)
                decision_rules[task.name] = DecisionRule(unsure_below=predict.unsure)
                continue
            rule = decision_rules[task.name] = fit(mean[labelled], truth[labelled])
            probabilities[task.name], answers[task.name] = cross_fit(mean[None], truth, people, fit)
            calibration[task.name] = {
                **rule.as_json(),
                "error_before": _error(mean, truth, mean.argmax(axis=1)),
                "error": _error(probabilities[task.name], truth, answers[task.name]),
            }

        # Files
        columns: dict[str, Any] = {
            "path": [sample.name for sample in samples],
            "person": people,
            "source": [sample.source for sample in samples],
            "fold": [sample.fold for sample in samples],
            **{f"true_{name}": truth for name, truth in true_codes.items()},
            **prediction_columns(tasks, probabilities, answers, decision_rules),
        }
        pl.DataFrame(columns).write_csv(run / "validation.csv")
        write_json(run / "calibration.json", calibration)
        return score_tasks(tasks, true_codes, answers, people), decision_rules


def decision_rule_fit(predict: PredictConfig) -> Fit:
    """Return the function that fits what the settings request: a temperature, factors, or neither."""
    factors = predict.decide == "f1"
    return partial(fit_decision_rule, calibrate=predict.calibrate, factors=factors, unsure_below=predict.unsure)


def _error(probabilities: Probabilities, true_codes: Codes, answers: Codes) -> float:
    """Return the expected calibration error on the labelled photos, rounded to four decimals."""
    labelled = true_codes != UNLABELLED
    return round(calibration_error(probabilities[labelled], true_codes[labelled], answers[labelled]), 4)
