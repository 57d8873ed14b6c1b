"""Fit how much each of several runs counts in an ensemble.

In: RUN/validation.csv and RUN/bundle of each. Out: weights per task, DIR/votes.json for `predict`, and
DIR/validation.csv.

Scores are honest: a network's probabilities are those of people that it was not trained on, and each person is scored
with weights that were fitted to others. The weights that are kept are fitted to all people.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache import atomic
from cache.errors import BundleError, DataError, UsageError
from classify.evaluation.metrics import Codes, Score, score_tasks
from classify.inference.bundle import Bundle, load_bundle
from classify.inference.calibration import log_loss
from classify.inference.decision import Probabilities, mean_probabilities
from classify.inference.decision_fit import NetworkCounts
from classify.inference.ensemble import FORMAT, VOTES, digest_of, refuse_other_tasks
from classify.inference.ensemble_weights import FitRules, Weigh, Weights, cross_fit, equal_weights, fit_weights
from classify.tasks import UNLABELLED, Task
from pipeline.evaluation.held_out_scores import decision_rules_fit
from pipeline.evaluation.validation_table import read_validation
from pipeline.prediction.predict import prediction_columns
from pipeline.run_record import write_json
from pipeline.safe_csv import csv_text
from pipeline.settings import PredictConfig, Settings, load_settings
from pipeline.task_names import probability_columns

MIN_SHARED = 0.5  # of the photos of the run that has held out the most


@dataclass(frozen=True, slots=True)
class SharedPhotos:
    """The photos that all runs have held out."""

    table: pl.DataFrame  # path, person, source, fold and true codes, as the first run has them
    probabilities: Mapping[str, NDArray[np.float32]]  # per task, (K, N, C): those of each of the K runs
    true_codes: Mapping[str, Codes]  # per task, (N,) class indices, -1 where unlabelled
    warnings: tuple[str, ...]  # why the scores may be too good


@dataclass(frozen=True, slots=True)
class EnsembleScores:
    """The predictions and scores of one choice of weights, for people that the weights were not fitted to."""

    name: str  # of a run, "equal weights" or "fitted weights"
    probabilities: Mapping[str, Probabilities]  # per task, (N, C)
    answers: Mapping[str, Codes]  # per task, (N,)
    scores: Mapping[str, Score]  # "joint" and one per task
    losses: Mapping[str, float]  # per task, the log loss

    def as_json(self) -> dict[str, Any]:
        """Return the entry in votes.json."""
        losses = {name: {"log_loss": round(loss, 6)} for name, loss in self.losses.items()}
        scores = {name: score.as_json() | losses.get(name, {}) for name, score in self.scores.items()}
        return {"name": self.name, "scores": scores}


@dataclass(frozen=True, slots=True)
class WeighedEnsemble:
    """The outcome: weights per task; `compared` has the scores of each run alone, equal weights and these weights."""

    weights: Mapping[str, Weights]
    compared: tuple[EnsembleScores, ...]
    photos: int
    people: int
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()  # what the weights, rules and scores do not take into account


def weigh_runs(runs: Sequence[Path], out: Path, predict: PredictConfig) -> WeighedEnsemble:
    """Fit the weights and write `out`.

    Raises:
        UsageError: there are fewer than two runs, or one is named twice.
        BundleError: a run is not finished, held nobody out, or predicts other tasks than the first.
        DataError: the runs have held out too few photos in common.
    """
    if len({run.resolve() for run in runs}) < max(len(runs), 2):
        raise UsageError("an ensemble takes two runs or more, each once: faceline vote RUN_A RUN_B --out DIR")
    if (out / "run.json").is_file():
        raise UsageError(f"{out} is a run, whose validation.csv would be replaced; name another --out")
    bundles = [load_bundle(run / "bundle") for run in runs]
    refuse_other_tasks(bundles, runs)
    tasks = bundles[0].tasks
    shared = read_shared(runs, tasks)
    fit = decision_rules_fit(predict)

    # Weights and decision rules, fitted to all people
    weights: dict[str, Weights] = {}
    means: dict[str, Probabilities] = {}
    for name, parts in shared.probabilities.items():
        labelled = shared.true_codes[name] != UNLABELLED
        weigh = fit_weights if labelled.any() else equal_weights
        weights[name] = weigh(parts[:, labelled], shared.true_codes[name][labelled])
        means[name] = mean_probabilities(list(parts), weights[name])
    decision_rules = fit(means, shared.true_codes)

    # Scores, on people that weights and rules were not fitted to
    ways: dict[str, Weigh] = {str(run): partial(_single_run_weights, number) for number, run in enumerate(runs)}
    ways |= {"equal weights": equal_weights, "fitted weights": fit_weights}
    compared = tuple(_score_weights(name, tasks, shared, weigh, fit) for name, weigh in ways.items())

    # Files
    fitted = compared[-1]
    columns = prediction_columns(tasks, fitted.probabilities, fitted.answers, decision_rules)
    table = shared.table.with_columns(**{name: pl.Series(values) for name, values in columns.items()})
    people = shared.table["person"].n_unique()
    out.mkdir(parents=True, exist_ok=True)
    atomic.write_text(out / "validation.csv", csv_text(table))
    record = {
        "format": FORMAT,
        "bundles": [
            {"path": _relative(run / "bundle", out), "sha256": digest_of(run / "bundle"), **_describe_counts(run)}
            for run in runs
        ],
        "weights": {name: list(task_weights) for name, task_weights in weights.items()},
        "decision_rules": {name: rule.as_json() for name, rule in decision_rules.items()},
        "decide": predict.decide,
        "photos": len(shared.table),
        "people": people,
        "scores": [scores.as_json() for scores in compared],
    }
    write_json(out / VOTES, record)
    notes = _notes(runs, bundles, predict)
    return WeighedEnsemble(weights, compared, len(shared.table), people, shared.warnings, notes)


def read_shared(runs: Sequence[Path], tasks: Sequence[Task]) -> SharedPhotos:
    """Join the runs' predictions for the photos that all of them have held out.

    Raises:
        BundleError: a run has no validation.csv, or one of other tasks.
        DataError: fewer than half of the photos are in all of them.
    """
    # Photos in common
    tables = [_read(run, tasks) for run in runs]
    keys = ["path", "source"]
    common = tables[0].select(keys)
    for table in tables[1:]:
        common = common.join(table.select(keys), on=keys, how="semi", maintain_order="left")
    if len(common) < max(MIN_SHARED * max(len(table) for table in tables), 1):
        sizes = ", ".join(f"{run} {len(table)}" for run, table in zip(runs, tables, strict=True))
        raise DataError(
            f"the runs have held out only {len(common)} photos in common ({sizes}).\n"
            "Train all on the same photos with the same --set split.held_out=all, split.folds and split.seed."
        )
    aligned = [common.join(table, on=keys, how="left", maintain_order="left") for table in tables]

    # Differences from the first run
    first = aligned[0]
    true_columns = [f"true_{task.name}" for task in tasks]
    warnings: list[str] = []
    for run, table in zip(runs[1:], aligned[1:], strict=True):
        if (differing := int((table["person"] != first["person"]).sum())) > 0:
            warnings.append(
                f"{run} and {runs[0]} disagree about the person in {differing} photos, so a network may have been "
                "trained on a person that it is scored on; the scores may be too good"
            )
        elif not table["fold"].equals(first["fold"]):
            warnings.append(
                f"{run} has divided the people into other folds than {runs[0]}, so networks were trained on people "
                "that others are weighed on; the scores may be too good. Give all runs one split.seed and split.folds"
            )
        if not table.select(true_columns).equals(first.select(true_columns)):
            warnings.append(f"{run} has other labels than {runs[0]}, whose labels are used")

    # Arrays
    true_codes: dict[str, Codes] = {}
    probabilities: dict[str, NDArray[np.float32]] = {}
    for task in tasks:
        true_codes[task.name] = first[f"true_{task.name}"].to_numpy().astype(np.intp)
        parts = [table.select(probability_columns(task)).to_numpy().astype(np.float32) for table in aligned]
        probabilities[task.name] = np.stack(parts)
    table = first.select("path", "person", "source", "fold", *true_columns)
    return SharedPhotos(table, probabilities, true_codes, tuple(warnings))


def _read(run: Path, tasks: Sequence[Task]) -> pl.DataFrame:
    path = run / "validation.csv"
    if not path.is_file():
        raise BundleError(
            f"{run} has no validation.csv: it is not finished, or held nobody out.\n"
            "Train with faceline train DATA --set split.held_out=all."
        )
    try:
        return read_validation(path, tasks).table
    except pl.exceptions.PolarsError as error:
        reason = str(error).split("\n")[0]
        raise BundleError(f"{path} does not fit {run / 'bundle'} ({reason}); train again") from None


def _single_run_weights(number: int, parts: NDArray[np.float32], _: Codes) -> Weights:
    """Return weights with which only run `number` counts."""
    return tuple(float(index == number) for index in range(len(parts)))


def _score_weights(
    name: str, tasks: Sequence[Task], shared: SharedPhotos, weigh: Weigh, fit: FitRules
) -> EnsembleScores:
    """Predict each person with weights and rules that were fitted to the others, and score the predictions."""
    people = shared.table["person"].to_list()
    probabilities, answers = cross_fit(shared.probabilities, shared.true_codes, people, fit, weigh)
    losses: dict[str, float] = {}
    for task, true_codes in shared.true_codes.items():
        labelled = true_codes != UNLABELLED
        if labelled.any():
            losses[task] = log_loss(probabilities[task][labelled], true_codes[labelled])
    scores = score_tasks(tasks, shared.true_codes, answers, people)
    return EnsembleScores(name, probabilities, answers, scores, losses)


def _notes(runs: Sequence[Path], bundles: Sequence[Bundle], predict: PredictConfig) -> tuple[str, ...]:
    """Return what a reader of the scores, or a user of the vote, should know about these runs."""
    notes: list[str] = []
    for run, bundle in zip(runs, bundles, strict=True):
        counts = _network_counts(run)
        if counts and counts.held_out < counts.voting:
            notes.append(
                f"{run} predicts a held-out person with {counts.held_out} of its networks and a new photo with "
                f"{counts.voting}: the vote's weights, temperatures and factors are fitted to the former"
            )
        settings = _settings(run)
        if settings and settings.held_out_note:
            notes.append(f"{run}: {settings.held_out_note}")
        if predict.decide == "probable" and any(rule.factors for rule in bundle.decision_rules.values()):
            notes.append(
                f"{run} chooses its answers with factors, but the vote the most probable class; "
                "--set predict.decide=f1 fits factors for the vote"
            )
    return tuple(notes)


def _describe_counts(run: Path) -> dict[str, int]:
    """Return what votes.json says about how many networks predict a held-out person, and a new photo."""
    counts = _network_counts(run)
    return {"networks_held_out": counts.held_out, "networks_voting": counts.voting} if counts else {}


def _network_counts(run: Path) -> NetworkCounts | None:
    """Return how many networks predict a held-out person, and a new photo; None if the run's settings are not there."""
    settings = _settings(run)
    if settings is None:
        return None
    split = settings.split
    kinds = max(len(settings.ensemble), 1) * split.repeats
    voting = 1 if split.refit else len(split.held_out_folds)
    return NetworkCounts(len(split.held_out_folds[0]) * kinds, voting * kinds)


def _settings(run: Path) -> Settings | None:
    """Return a run's settings; None if they are not there, or this version can't read them."""
    try:
        return load_settings(run / "config.yaml")
    except UsageError:
        return None


def _relative(bundle: Path, out: Path) -> str:
    return Path(os.path.relpath(bundle.resolve(), out.resolve())).as_posix()
