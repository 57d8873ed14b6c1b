"""How much each of several runs counts in a vote.

RUN/validation.csv of each + RUN/bundle -> weights per task, DIR/votes.json for `predict` and DIR/validation.csv.

Nothing is told of a person by what was fitted to that person: neither the networks' probabilities, which are those of
held-out people, nor the weights behind the scores. The weights that are kept are fitted to all.
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
from classify.evaluation.metrics import Score, score_tasks
from classify.inference.bundle import load_bundle
from classify.inference.calibration import Codes, fit_decision_rule
from classify.inference.decision import DecisionRule, Probabilities, vote
from classify.inference.ensemble import FORMAT, VOTES, digest_of, refuse_other_tasks
from classify.inference.ensemble_weights import Weigh, Weights, cross_fit_ensemble, equal_weights, fit_weights, log_loss
from classify.tasks import UNLABELLED, Task
from pipeline.evaluation.validation_table import read_validation
from pipeline.prediction.predict import prediction_columns
from pipeline.run_record import write_json
from pipeline.settings import PredictConfig

LEAST_SHARED = 0.5  # of the photos that the run with the most has held out


@dataclass(frozen=True, slots=True)
class Shared:
    """The photos that all runs have held out.

    Attributes:
        table: path, person, source, fold and truths, as the first run has them.
        parts: per task, (K, N, C) what each run told.
        truths: per task, (N,) class indices, -1 where unlabelled.
        warnings: why the scores may be too good.
    """

    table: pl.DataFrame
    parts: Mapping[str, NDArray[np.float32]]
    truths: Mapping[str, Codes]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EnsembleScores:
    """What one way of weighing comes to on people that it was not fitted to.

    Attributes:
        name: of a run, "equal weights" or "fitted weights".
        told, answers: per task, (N, C) and (N,).
        scores: "joint" and one per task.
        losses: per task, the log loss.
    """

    name: str
    told: Mapping[str, Probabilities]
    answers: Mapping[str, Codes]
    scores: Mapping[str, Score]
    losses: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """As votes.json has it."""
        losses = {name: {"log_loss": round(loss, 6)} for name, loss in self.losses.items()}
        scores = {name: one.as_json() | losses.get(name, {}) for name, one in self.scores.items()}
        return {"name": self.name, "scores": scores}


@dataclass(frozen=True, slots=True)
class Weighed:
    """The outcome: weights per task, and how every run alone, equal weights and these do."""

    weights: Mapping[str, Weights]
    mixtures: tuple[EnsembleScores, ...]
    photos: int
    people: int
    warnings: tuple[str, ...]


def weigh_runs(runs: Sequence[Path], out: Path, predict: PredictConfig) -> Weighed:
    """Fit the weights and write DIR.

    Raises:
        UsageError: fewer than two runs, or one twice.
        BundleError: a run is not finished, held nobody out, or tells something else than the first.
        DataError: the runs have held out too few photos in common.
    """
    if len({run.resolve() for run in runs}) < max(len(runs), 2):
        raise UsageError("a vote takes two runs or more, each once: faceline vote RUN_A RUN_B --out DIR")
    if (out / "run.json").is_file():
        raise UsageError(f"{out} is a run, whose validation.csv the vote would replace; name another --out")
    bundles = [load_bundle(run / "bundle") for run in runs]
    refuse_other_tasks(bundles, runs)
    tasks = bundles[0].tasks
    shared = read_shared(runs, tasks)
    fit = partial(
        fit_decision_rule, calibrate=predict.calibrate, factors=predict.decide == "f1", unsure_below=predict.unsure
    )
    weights: dict[str, Weights] = {}
    decision_rules: dict[str, DecisionRule] = {}
    for task in tasks:
        parts, truth = shared.parts[task.name], shared.truths[task.name]
        labelled = truth != UNLABELLED
        weights[task.name] = equal_weights(parts, truth)
        if labelled.any():
            weights[task.name] = fit_weights(parts[:, labelled], truth[labelled])
            mean = vote(list(parts[:, labelled]), weights[task.name])
            decision_rules[task.name] = fit(mean, truth[labelled])
    ways: dict[str, Weigh] = {str(run): partial(_only, number) for number, run in enumerate(runs)}
    ways |= {"equal weights": equal_weights, "fitted weights": fit_weights}
    mixtures = tuple(_mixture(name, tasks, shared, weigh, fit) for name, weigh in ways.items())
    best = mixtures[-1]
    columns = prediction_columns(tasks, best.told, best.answers, decision_rules)
    out.mkdir(parents=True, exist_ok=True)
    told = shared.table.with_columns(**{name: pl.Series(values) for name, values in columns.items()})
    atomic.write_text(out / "validation.csv", told.write_csv())
    people = shared.table["person"].n_unique()
    write_json(
        out / VOTES,
        {
            "format": FORMAT,
            "bundles": [{"path": _relative(run / "bundle", out), "sha256": digest_of(run / "bundle")} for run in runs],
            "weights": {name: list(own) for name, own in weights.items()},
            "verdicts": {name: one.as_json() for name, one in decision_rules.items()},
            "photos": len(shared.table),
            "people": people,
            "scores": [one.as_json() for one in mixtures],
        },
    )
    return Weighed(weights, mixtures, len(shared.table), people, shared.warnings)


def read_shared(runs: Sequence[Path], tasks: Sequence[Task]) -> Shared:
    """Join what the runs told of the photos that all have held out.

    Raises:
        BundleError: a run has no validation.csv, or one of other tasks.
        DataError: fewer than half of the photos are in all.
    """
    tables = [_read(run, tasks) for run in runs]
    keys = ["path", "source"]
    common = tables[0].select(keys)
    for table in tables[1:]:
        common = common.join(table.select(keys), on=keys, how="semi", maintain_order="left")
    most = max(len(table) for table in tables)
    if len(common) < max(LEAST_SHARED * most, 1):
        told = ", ".join(f"{run} {len(table)}" for run, table in zip(runs, tables, strict=True))
        raise DataError(
            f"the runs have held out only {len(common)} photos in common ({told}).\n"
            "Train all on the same photos with the same --set split.held_out=all, split.folds and split.seed."
        )
    aligned = [common.join(table, on=keys, how="left", maintain_order="left") for table in tables]
    first = aligned[0]
    warnings: list[str] = []
    for run, table in zip(runs[1:], aligned[1:], strict=True):
        if (others := int((table["person"] != first["person"]).sum())) > 0:
            warnings.append(
                f"{run} and {runs[0]} call {others} photos by different people, so a network may have seen a person "
                "that it is thought not to know; the scores may be too good"
            )
        elif not table["fold"].equals(first["fold"]):
            warnings.append(
                f"{run} has dealt the people into other folds than {runs[0]}, so what one network is weighed on "
                "another has learnt from; the scores may be too good. Give all runs one split.seed and split.folds"
            )
        truths = [f"true_{task.name}" for task in tasks]
        if not table.select(truths).equals(first.select(truths)):
            warnings.append(f"{run} has other labels than {runs[0]}, whose labels count here")
    truth = {task.name: first[f"true_{task.name}"].to_numpy().astype(np.intp) for task in tasks}
    parts = {
        task.name: np.stack([table.select(_columns(task)).to_numpy().astype(np.float32) for table in aligned])
        for task in tasks
    }
    kept = ["path", "person", "source", "fold", *(f"true_{task.name}" for task in tasks)]
    return Shared(first.select(kept), parts, truth, tuple(warnings))


def _read(run: Path, tasks: Sequence[Task]) -> pl.DataFrame:
    path = run / "validation.csv"
    if not path.is_file():
        raise BundleError(
            f"{run} has no validation.csv: it is not finished, or held nobody out.\n"
            "Train with faceline train DATA --set split.held_out=all."
        )
    try:
        return read_validation(path, tasks).table.with_columns(pl.col("source").cast(pl.String))
    except pl.exceptions.PolarsError as error:
        reason = str(error).split("\n")[0]
        raise BundleError(f"{path} does not fit {run / 'bundle'} ({reason}); train again") from None


def _columns(task: Task) -> list[str]:
    return [f"p_{task.name}_{name}" for name in task.classes]


def _only(number: int, parts: NDArray[np.float32], _: Codes) -> Weights:
    return tuple(float(index == number) for index in range(len(parts)))


def _mixture(name: str, tasks: Sequence[Task], shared: Shared, weigh: Weigh, fit: Any) -> EnsembleScores:
    people = shared.table["person"].to_list()
    told: dict[str, Probabilities] = {}
    answers: dict[str, Codes] = {}
    losses: dict[str, float] = {}
    for task in tasks:
        truth = shared.truths[task.name]
        told[task.name], answers[task.name] = cross_fit_ensemble(shared.parts[task.name], truth, people, weigh, fit)
        if (labelled := truth != UNLABELLED).any():
            losses[task.name] = log_loss(told[task.name][labelled], truth[labelled])
    scores = score_tasks(tasks, shared.truths, answers, people)
    return EnsembleScores(name, told, answers, scores, losses)


def _relative(bundle: Path, out: Path) -> str:
    return Path(os.path.relpath(bundle.resolve(), out.resolve())).as_posix()
