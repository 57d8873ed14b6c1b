"""What the networks say of photos that they were not trained on.

probabilities of each network on its held-out photos -> their votes -> RUN/validation.csv, scores, and what makes the
probabilities honest.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from classify.data.sample import Sample
from classify.evaluation.metrics import Score, score_tasks
from classify.inference.bundle import TrainedNetwork
from classify.inference.calibration import Codes, calibration_error, cross_fit, fit_decision_rule
from classify.inference.decision import DecisionRule
from classify.inference.probabilities import Probabilities
from classify.tasks import UNLABELLED, Task
from pipeline.prediction.predict import prediction_columns
from pipeline.run_record import write_json
from pipeline.settings import PredictConfig


class HeldOut:
    """The votes on held-out photos, added up as the networks come."""

    def __init__(self, tasks: Sequence[Task], samples: Sequence[Sample]) -> None:
        self._tasks, self._samples = tasks, samples
        self._votes = {task.name: np.zeros((len(samples), len(task.classes)), np.float32) for task in tasks}
        self._ensemble = {task.name: np.zeros(len(samples), np.float32) for task in tasks}

    def add(self, network: TrainedNetwork, rows: NDArray[np.intp], told: Sequence[Probabilities]) -> None:
        """One network's probabilities for the samples `rows`, a (N, C) for each task that it tells."""
        for task, own in zip(network.heads.tasks, told, strict=True):
            self._votes[task.name][rows] += own
            self._ensemble[task.name][rows] += 1

    def finish(self, run: Path, predict: PredictConfig) -> tuple[dict[str, Score], dict[str, DecisionRule]]:
        """Write RUN/validation.csv, truth and predictions, and calibration.json; both are missing without such photos.

        What is fitted to held-out photos is fitted to other people's before it tells theirs, so that the scores are
        those of people nobody has seen. The verdicts that are returned are fitted to all.

        Returns:
            The scores, "joint" and one per task, and the verdict of every task.
        """
        tasks = self._tasks
        rows = np.flatnonzero(np.min([self._ensemble[task.name] for task in tasks], axis=0))
        if not len(rows):
            return {}, {task.name: DecisionRule(unsure_below=predict.unsure) for task in tasks}
        votes = {t.name: self._votes[t.name][rows] / self._ensemble[t.name][rows][:, None] for t in tasks}
        samples = [self._samples[row] for row in rows.tolist()]
        people = [sample.person for sample in samples]
        truths = {t.name: np.array([s.codes[i] for s in samples], np.intp) for i, t in enumerate(tasks)}
        told: dict[str, Probabilities] = {}
        answers: dict[str, Codes] = {}
        decision_rules: dict[str, DecisionRule] = {}
        calibration: dict[str, dict[str, Any]] = {}
        fit = partial(
            fit_decision_rule,
            calibrate=predict.calibrate, factors=predict.decide == "f1", unsure_below=predict.unsure,
        )  # fmt: skip
        for task in tasks:
            own, truth = votes[task.name], truths[task.name]
            labelled = truth != UNLABELLED
            if not labelled.any():
                told[task.name], answers[task.name] = own, own.argmax(axis=1)
                decision_rules[task.name] = DecisionRule(unsure_below=predict.unsure)
                continue
            decision_rules[task.name] = fit(own[labelled], truth[labelled])
            told[task.name], answers[task.name] = cross_fit(own, truth, people, fit)
            calibration[task.name] = {
                **decision_rules[task.name].as_json(),
                "error_before": _error(own, truth, own.argmax(axis=1), labelled),
                "error": _error(told[task.name], truth, answers[task.name], labelled),
            }
        names = {"path": [s.name for s in samples], "person": people,
                 "source": [s.source for s in samples], "fold": [s.fold for s in samples]}  # fmt: skip
        columns = prediction_columns(tasks, told, answers, decision_rules)
        pl.DataFrame({**names, **{f"true_{name}": one for name, one in truths.items()}, **columns}).write_csv(
            run / "validation.csv"
        )
        write_json(run / "calibration.json", calibration)
        return score_tasks(tasks, truths, answers, people), decision_rules


def _error(told: Probabilities, truth: Codes, answers: Codes, labelled: NDArray[np.bool_]) -> float:
    return round(calibration_error(told[labelled], truth[labelled], answers[labelled]), 4)
