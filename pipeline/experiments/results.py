"""How compared configurations stand: the runs of a comparison as figures, a table, Markdown and JSON.

DIR/NAME/seed-S/fold-K/validation.csv, metrics.jsonl, run.json -> DIR/compare.json, DIR/compare.md.
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
from classify.evaluation.paired_bootstrap import Difference, Standing, standings
from classify.tasks import UNLABELLED, joint_names
from pipeline.evaluation.validation_table import Validation, read_validation
from pipeline.experiments.compare import FIXED_KEYS, Configuration, Plan
from pipeline.run_record import dotted, git_state, versions, write_json
from pipeline.settings import COMMON_SECTIONS


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of the comparison.

    Attributes:
        configuration, seed, fold: which.
        folder: where it is.
        seconds: of training, all epochs and tasks together.
        made_by: versions, code and device, as run.json has them.
    """

    configuration: str
    seed: int
    fold: int
    folder: Path
    seconds: float
    made_by: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The run as compare.json lists it."""
        return {
            "configuration": self.configuration,
            "seed": self.seed,
            "fold": self.fold,
            "run": str(self.folder),
            "seconds": self.seconds,
            **self.made_by,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """The figures of all complete rounds.

    Attributes:
        plan: what was to be done.
        seeds: so many seeds are in the figures.
        folds: the held-out folds that are in the figures.
        photos, people: that were told while held out.
        scores: "joint" first, then one per task: a standing for each configuration.
        runs: every run in the figures.
    """

    plan: Plan
    seeds: int
    folds: tuple[int, ...]
    photos: int
    people: int
    scores: Mapping[str, Sequence[Standing]]
    runs: tuple[RunRecord, ...]

    @property
    def names(self) -> list[str]:
        """The configurations' names in order."""
        return [one.name for one in self.plan.configurations]

    def seconds(self, name: str) -> float:
        """Mean training seconds of a run."""
        return round(float(np.mean([run.seconds for run in self.runs if run.configuration == name])), 2)

    def sentence(self) -> str:
        """What the figures are about."""
        dealt = f"{len(self.folds)} of {self.plan.folds} folds" if len(self.folds) < self.plan.folds else "all folds"
        seeds = f"mean over {self.seeds} seeds" if self.seeds > 1 else "one seed"
        return (
            f"{self.photos:,} photos of {self.people:,} people ({dealt}), each told by networks trained without that "
            f"person; {seeds}; 95% intervals over people, differences from {self.names[0]}"
        )

    def differing(self) -> dict[str, list[str]]:
        """Dotted keys of the settings that differ, and the value in each configuration."""
        flat = [_settings(one) for one in self.plan.configurations]
        keys = dict.fromkeys(key for settings in flat for key in settings if not _is_common(key, flat))
        values = {key: [json.dumps(settings.get(key), ensure_ascii=False) for settings in flat] for key in keys}
        return {key: row for key, row in values.items() if len(set(row)) > 1}

    def warnings(self) -> list[str]:
        """What makes the figures worth less than they look."""
        found: list[str] = []
        if len({json.dumps(run.made_by, sort_keys=True) for run in self.runs}) > 1:
            found.append(
                f"the runs in {self.plan.out} were made by different code, versions or devices (see its compare.json); "
                "compare into another folder with --out to have them made by one"
            )
        settings = [_settings(one) for one in self.plan.configurations]
        for number, own in enumerate(settings):
            if own in settings[:number]:
                found.append(f"{self.names[number]} and {self.names[settings.index(own)]} have the same settings")
        return found

    def tables(self) -> Iterator[tuple[str, list[str], list[list[object]]]]:
        """Title, columns and rows of each table on a terminal, 80 columns wide where names are short."""
        for score, every in self.scores.items():
            rows: list[list[object]] = []
            for name, one in zip(self.names, every, strict=True):
                apart = one.difference
                paired = (
                    [_signed(apart.macro_f1), _signed_interval(apart), f"{apart.better:.0%}"] if apart else [""] * 3
                )
                rows.append([name, one.macro_f1, f"{one.low:.3f} to {one.high:.3f}", *paired])
            yield "", [score, "macro-F1", "95% interval", "difference", "95% interval", "better"], rows
        spent: list[object] = ["seconds a run", *(f"{self.seconds(name):.1f}" for name in self.names)]
        rows = [spent, *([key, *row] for key, row in self.differing().items())]
        yield "", ["what differs", *self.names], rows

    def as_markdown(self) -> str:
        """The page compare.md: the command, the figures, the settings that differ."""
        heads = [head for score in self.scores for head in (score, "difference")]
        rows: list[list[str]] = []
        for number, name in enumerate(self.names):
            cells: list[str] = []
            for every in self.scores.values():
                one = every[number]
                cells += [f"{one.macro_f1:.3f} ({one.low:.3f} to {one.high:.3f})", _difference(one.difference)]
            rows.append([name, *cells, f"{self.seconds(name):.1f}"])
        figures = _markdown_table(["macro-F1", *heads, "seconds a run"], rows)
        parts = [f"`{self.plan.command()}`", f"{self.sentence()}.", figures]
        differing = [[f"`{key}`", *(f"`{value}`" for value in row)] for key, row in self.differing().items()]
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
                one.name: {
                    "file": str(one.file),
                    "seconds": self.seconds(one.name),
                    "scores": {score: every[number].as_json() for score, every in self.scores.items()},
                }
                for number, one in enumerate(self.plan.configurations)
            },
            "differing": {
                key: dict(zip(self.names, map(json.loads, row), strict=True)) for key, row in self.differing().items()
            },
            "runs": [run.as_json() for run in self.runs],
            "versions": versions(),
            "git": git_state(),
        }


def gather(plan: Plan, done: int) -> Comparison:
    """The figures after `done` complete rounds.

    Only seeds of which every fold is complete count, so that each seed tells the same people; while there is none, the
    first one's complete folds.

    Raises:
        DataError: a run told other photos than the others, or with other labels.
    """
    whole = done // len(plan.held_out)
    seeds, folds = (whole, plan.held_out) if whole else (1, plan.held_out[:done])
    tasks = plan.configurations[0].settings.task_list()
    told = {
        (one.name, seed, fold): read_validation(plan.run(one.name, seed, fold) / "validation.csv", tasks)
        for one in plan.configurations
        for seed in range(seeds)
        for fold in folds
    }
    first = [told[plan.configurations[0].name, 0, fold] for fold in folds]
    for (name, seed, fold), validation in told.items():
        _check_same_photos(validation, first[folds.index(fold)], plan.run(name, seed, fold))
    people = [person for validation in first for person in validation.people]
    sizes = {"joint": len(joint_names(tasks)), **{task.name: len(task.classes) for task in tasks}}
    scores: dict[str, list[Standing]] = {}
    for score, classes in sizes.items():
        truth = np.concatenate([validation.codes[score][0] for validation in first])
        answers = np.array([_answers(told, one.name, score, seeds, folds) for one in plan.configurations])
        labelled = truth != UNLABELLED
        if labelled.any():
            whose = [person for person, there in zip(people, labelled, strict=True) if there]
            scores[score] = standings(truth[labelled], answers[:, :, labelled], whose, classes)
    runs = tuple(_run_record(plan, *which) for which in told)
    return Comparison(plan, seeds, folds, len(people), len(set(people)), scores, runs)


def write_comparison(comparison: Comparison) -> None:
    """Write DIR/compare.json and DIR/compare.md."""
    write_json(comparison.plan.out / "compare.json", comparison.as_json())
    atomic.write_text(comparison.plan.out / "compare.md", comparison.as_markdown())


def _answers(
    told: Mapping[tuple[str, int, int], Validation], name: str, score: str, seeds: int, folds: Sequence[int]
) -> NDArray[np.intp]:
    """What one configuration told, (seeds, N), the folds one after the other."""
    return np.array(
        [np.concatenate([told[name, seed, fold].codes[score][1] for fold in folds]) for seed in range(seeds)]
    )


def _check_same_photos(one: Validation, first: Validation, run: Path) -> None:
    same = one.table["path"].equals(first.table["path"]) and all(
        np.array_equal(one.codes[name][0], first.codes[name][0]) for name in first.codes
    )
    if not same:
        raise DataError(
            f"{run / 'validation.csv'} has other photos or labels than the other configurations' run on that fold; "
            "delete that run, and the same command trains it again"
        )


def _run_record(plan: Plan, name: str, seed: int, fold: int) -> RunRecord:
    folder = plan.run(name, seed, fold)
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    # The epochs' own seconds: run.json has those of the last start only, when a run was stopped and went on.
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    seconds = round(sum(json.loads(line)["seconds"] for line in lines), 2)
    made_by = {key: record.get(key) for key in ("git", "versions", "device")}
    return RunRecord(name, seed, fold, folder, seconds, made_by)


def _settings(configuration: Configuration) -> dict[str, Any]:
    """The settings by dotted keys, without those that a run has from the plan."""
    flat = dotted(configuration.settings.model_dump(mode="json"))
    return {key: value for key, value in flat.items() if key not in FIXED_KEYS}


def _is_common(key: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a task's key only repeats `model` or `train` everywhere."""
    steps = key.split(".")
    common = ".".join(steps[2:])
    return steps[0] == "tasks" and steps[2] in COMMON_SECTIONS and all(s.get(key) == s.get(common) for s in settings)


def _difference(apart: Difference | None) -> str:
    return f"{_signed(apart.macro_f1)} ({_signed_interval(apart)})" if apart else ""


def _signed_interval(apart: Difference) -> str:
    return f"{_signed(apart.low)} to {_signed(apart.high)}"


def _signed(value: float) -> str:
    return f"{value:+.3f}" if round(value, 3) else "0.000"


def _markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
