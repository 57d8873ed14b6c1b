"""The results of a comparison: scores of its runs as tables, Markdown and JSON.

In: validation.csv, metrics.jsonl and run.json in each DIR/NAME/seed-S/fold-K/. Out: DIR/compare.json, DIR/compare.md.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache import atomic
from cache.errors import DataError
from classify.evaluation.paired_bootstrap import Difference, PairedScore, paired_scores
from classify.tasks import UNLABELLED, joint_names
from pipeline.evaluation.validation_table import Validation, read_validation
from pipeline.experiments.compare import FIXED_KEYS, Configuration, Plan
from pipeline.run_record import git_state, versions, write_json
from pipeline.setting_differences import differing_settings, flat_settings


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of the comparison.

    Attributes:
        seconds: training time of all epochs and tasks together.
        made_by: versions, code and device, as in run.json.
    """

    configuration: str
    seed: int
    fold: int
    folder: Path
    seconds: float
    made_by: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The run as compare.json lists it."""
        which = {"configuration": self.configuration, "seed": self.seed, "fold": self.fold}
        return {**which, "run": str(self.folder), "seconds": self.seconds, **self.made_by}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The scores over the complete rounds.

    Attributes:
        seeds: number of seeds in the scores.
        folds: the held-out folds in the scores.
        photos, people: numbers of held-out photos and people.
        scores: "joint" first, then one entry per task: the score of each configuration, in the plan's order.
    """

    plan: Plan
    seeds: int
    folds: tuple[int, ...]
    photos: int
    people: int
    scores: Mapping[str, Sequence[PairedScore]]
    runs: tuple[RunRecord, ...]

    @property
    def names(self) -> list[str]:
        """The configurations' names in order."""
        return [configuration.name for configuration in self.plan.configurations]

    def seconds(self, name: str) -> float:
        """Mean training seconds per run of a configuration."""
        return round(float(np.mean([run.seconds for run in self.runs if run.configuration == name])), 2)

    def summary(self) -> str:
        """What the scores cover, in one sentence."""
        folds = f"{len(self.folds)} of {self.plan.folds} folds" if len(self.folds) < self.plan.folds else "all folds"
        seeds = f"mean over {self.seeds} seeds" if self.seeds > 1 else "one seed"
        chosen = [
            configuration.name for configuration in self.plan.configurations if self._is_epoch_chosen(configuration)
        ]
        note = f"; the kept epoch was chosen on these people in {', '.join(chosen)} (train.keep)" if chosen else ""
        return (
            f"{self.photos:,} photos of {self.people:,} people ({folds}), each predicted by networks trained without "
            f"that person; {seeds}; 95% intervals over people, differences from {self.names[0]}{note}"
        )

    def _is_epoch_chosen(self, configuration: Configuration) -> bool:
        """Whether the held-out people decided which epoch's weights are kept."""
        return bool(self.plan.settings(configuration, 0, self.plan.held_out[0]).held_out_note)

    def differing(self) -> dict[str, list[str]]:
        """Dotted key of each setting that differs -> its value, as JSON, in each configuration."""
        settings = [configuration.settings for configuration in self.plan.configurations]
        return differing_settings(settings, without=FIXED_KEYS)

    def warnings(self) -> list[str]:
        """Reasons to distrust the scores."""
        warnings: list[str] = []
        if len({json.dumps(run.made_by, sort_keys=True) for run in self.runs}) > 1:
            warnings.append(
                f"the runs in {self.plan.out} were made by different code, versions or devices (see its compare.json); "
                "compare into another folder with --out to train all of them anew"
            )
        flat = flat_settings([each.settings for each in self.plan.configurations], without=FIXED_KEYS)
        for number, settings in enumerate(flat):
            if settings in flat[:number]:
                warnings.append(f"{self.names[number]} and {self.names[flat.index(settings)]} have the same settings")
        return warnings

    def tables(self) -> Iterator[tuple[str, list[str], list[list[object]]]]:
        """Yield title, columns and rows of each table for a terminal, 80 columns wide if names are short."""
        for task, scores in self.scores.items():
            rows: list[list[object]] = []
            for name, score in zip(self.names, scores, strict=True):
                difference = ["", "", ""]
                if paired := score.difference:
                    difference = [signed(paired.macro_f1), signed_interval(paired), f"{paired.better:.0%}"]
                rows.append([name, score.macro_f1, f"{score.low:.3f} to {score.high:.3f}", *difference])
            yield "", [task, "macro-F1", "95% interval", "difference", "95% interval", "better"], rows
        seconds: list[object] = ["seconds a run", *(f"{self.seconds(name):.1f}" for name in self.names)]
        rows = [seconds, *([key, *values] for key, values in self.differing().items())]
        yield "", ["what differs", *self.names], rows

    def as_markdown(self) -> str:
        """The page compare.md: the command, the scores, the settings that differ."""
        heads = [head for task in self.scores for head in (task, "difference")]
        rows: list[list[str]] = []
        for number, name in enumerate(self.names):
            cells: list[str] = []
            for scores in self.scores.values():
                score = scores[number]
                cells += [f"{score.macro_f1:.3f} ({score.low:.3f} to {score.high:.3f})", _difference(score.difference)]
            rows.append([name, *cells, f"{self.seconds(name):.1f}"])
        table = _markdown_table(["macro-F1", *heads, "seconds a run"], rows)
        parts = [f"`{self.plan.command()}`", f"{self.summary()}.", table]
        differing = [[f"`{key}`", *(f"`{value}`" for value in values)] for key, values in self.differing().items()]
        if differing:
            parts.append(_markdown_table(["setting", *self.names], differing))
        return "\n\n".join(parts) + "\n"

    def as_json(self) -> dict[str, Any]:
        """The content of compare.json."""
        return {
            "command": self.plan.command(),
            "complete": len(self.runs) == len(self.plan.rounds()) * len(self.names),
            "data": str(self.plan.data),
            "folds": self.plan.folds,
            "held_out": list(self.folds),
            "seeds": list(range(self.seeds)),
            "split_seed": self.plan.split_seed,
            "photos": self.photos,
            "people": self.people,
            "first": self.names[0],
            "configurations": {
                configuration.name: {
                    "file": str(configuration.file),
                    "seconds": self.seconds(configuration.name),
                    "scores": {task: scores[number].as_json() for task, scores in self.scores.items()},
                }
                for number, configuration in enumerate(self.plan.configurations)
            },
            "differing": {
                key: dict(zip(self.names, map(json.loads, row), strict=True)) for key, row in self.differing().items()
            },
            "runs": [run.as_json() for run in self.runs],
            "versions": versions(),
            "git": git_state(),
        }


def collect_results(plan: Plan, complete_rounds: int) -> Comparison:
    """Score the configurations after `complete_rounds` rounds.

    Only seeds with all folds complete count, so that all seeds cover the same people; before the first seed is
    complete, its complete folds count.

    Raises:
        DataError: a run held out other photos than the others, or has other labels.
    """
    complete_seeds = complete_rounds // len(plan.held_out)
    seeds, folds = (complete_seeds, plan.held_out) if complete_seeds else (1, plan.held_out[:complete_rounds])
    # Read the predictions of their runs; on each fold they must be for the same photos.
    tasks = plan.configurations[0].settings.task_list()
    names = [configuration.name for configuration in plan.configurations]
    validations: dict[tuple[str, int, int], Validation] = {}
    for name in names:
        for seed in range(seeds):
            for fold in folds:
                run = plan.run(name, seed, fold)
                validations[name, seed, fold] = read_validation(run / "validation.csv", tasks)
                _check_same_photos(validations[name, seed, fold], validations[names[0], 0, fold], run)
    first = [validations[names[0], 0, fold] for fold in folds]
    people = np.array([person for validation in first for person in validation.people])
    class_counts = {"joint": len(joint_names(tasks)), **{task.name: len(task.classes) for task in tasks}}
    scores: dict[str, list[PairedScore]] = {}
    for task, classes in class_counts.items():
        true_codes = np.concatenate([validation.codes[task][0] for validation in first])
        predicted_codes = np.array([_predicted_codes(validations, name, task, seeds, folds) for name in names])
        labelled = true_codes != UNLABELLED
        if labelled.any():
            people_of_task, predicted_of_task = people[labelled].tolist(), predicted_codes[:, :, labelled]
            scores[task] = paired_scores(true_codes[labelled], predicted_of_task, people_of_task, classes)
    runs = tuple(_read_run_record(plan, *key) for key in validations)
    return Comparison(plan, seeds, folds, len(people), len(set(people)), scores, runs)


def write_comparison(comparison: Comparison) -> None:
    """Write DIR/compare.json and DIR/compare.md."""
    write_json(comparison.plan.out / "compare.json", comparison.as_json())
    atomic.write_text(comparison.plan.out / "compare.md", comparison.as_markdown())


def _predicted_codes(
    validations: Mapping[tuple[str, int, int], Validation], name: str, task: str, seeds: int, folds: Sequence[int]
) -> NDArray[np.intp]:
    """The class indices that one configuration predicted, (seeds, N), fold after fold."""
    return np.array(
        [np.concatenate([validations[name, seed, fold].codes[task][1] for fold in folds]) for seed in range(seeds)]
    )


def _check_same_photos(validation: Validation, first: Validation, run: Path) -> None:
    """Raise a DataError if `run` has other photos or labels than the first run on its fold."""
    same = validation.table["path"].equals(first.table["path"]) and all(
        np.array_equal(validation.codes[task][0], first.codes[task][0]) for task in first.codes
    )
    if not same:
        raise DataError(
            f"{run / 'validation.csv'} has other photos or labels than the other configurations' run on that fold; "
            "delete that run, and the same command trains it again"
        )


def _read_run_record(plan: Plan, name: str, seed: int, fold: int) -> RunRecord:
    folder = plan.run(name, seed, fold)
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    # Summed over the epochs: run.json has only the seconds since the last start of an interrupted run.
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    seconds = round(sum(json.loads(line)["seconds"] for line in lines), 2)
    made_by = {key: record.get(key) for key in ("git", "versions", "device")}
    return RunRecord(name, seed, fold, folder, seconds, made_by)


def _difference(difference: Difference | None) -> str:
    return f"{signed(difference.macro_f1)} ({signed_interval(difference)})" if difference else ""


def signed_interval(difference: Difference) -> str:
    """Format the interval of a difference, as in "-0.010 to +0.020"."""
    return f"{signed(difference.low)} to {signed(difference.high)}"


def signed(value: float) -> str:
    """Format a difference with its sign, as in "+0.012"."""
    return f"{value:+.3f}" if round(value, 3) else "0.000"


def _markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
