"""Compare settings: every configuration trained on the same folds of the same people.

DATA + A.yaml, B.yaml ... -> DIR/NAME/seed-S/fold-K/, an ordinary run each -> figures side by side.

Runs go round by round, all configurations on one fold before any on the next, so that a comparison that was stopped
has done the same for each. The same command again goes on; finished runs are not trained again.
"""

import json
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cache.config import fingerprint
from cache.errors import DataError, FacelineError, UsageError
from pipeline.chain import ValidatedDataset, load_and_validate, train_on
from pipeline.context import RunContext
from pipeline.detection.detect import detect_photos
from pipeline.run_record import refuse_other_settings, write_json
from pipeline.settings import Settings, load_settings

FIXED_KEYS = ("seed", "split.folds", "split.held_out", "split.seed")  # a run of a comparison has these from the plan


@dataclass(frozen=True, slots=True)
class Configuration:
    """One of the settings that are compared.

    Attributes:
        name: of its folder and in every table.
        file: where it stands.
        settings: as read; seed and split are replaced in each run.
    """

    name: str
    file: Path
    settings: Settings


@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained.

    Attributes:
        data: the data set.
        out: the comparison's folder.
        configurations: the first is the one that the others are measured against.
        folds: into how many the people are dealt.
        held_out: those of them that are held out in turn.
        seeds: trainings of each on every fold, with seeds from 0.
        split_seed: of the dealing.
        overrides: key=value for every configuration.
    """

    data: Path
    out: Path
    configurations: tuple[Configuration, ...]
    folds: int
    held_out: tuple[int, ...]
    seeds: int
    split_seed: int
    overrides: tuple[str, ...] = ()

    def rounds(self) -> list[tuple[int, int]]:
        """(seed, fold) of each round in order."""
        return [(seed, fold) for seed in range(self.seeds) for fold in self.held_out]

    def run(self, name: str, seed: int, fold: int) -> Path:
        """The folder of one run."""
        return self.out / name / f"seed-{seed}" / f"fold-{fold}"

    def settings(self, configuration: Configuration, seed: int, fold: int) -> Settings:
        """The settings of one run."""
        settings = configuration.settings
        split = {"folds": self.folds, "held_out": fold, "seed": self.split_seed}
        return settings.model_copy(update={"seed": seed, "split": settings.split.model_copy(update=split)})

    def command(self) -> str:
        """The command that asks for this plan."""
        words = ["faceline", "compare", self.data, *(one.file for one in self.configurations)]
        words += ["--folds", self.folds, "--seeds", self.seeds]
        if self.split_seed:
            words += ["--split-seed", self.split_seed]
        if self.held_out != tuple(range(self.folds)):
            words += ["--held-out", ",".join(map(str, self.held_out))]
        words += [word for override in self.overrides for word in ("--set", override)]
        return shlex.join(map(str, [*words, "--out", self.out]))


def make_plan(
    data: Path,
    files: Sequence[Path],
    out: Path,
    *,
    folds: int,
    seeds: int,
    held_out: str | None = None,
    first: int | None = None,
    split_seed: int = 0,
    overrides: Sequence[str] = (),
) -> Plan:
    """Read all settings and check that they can be compared, before anything is trained.

    Args:
        data: the data set.
        files: settings, one file a configuration.
        out: the comparison's folder.
        folds, seeds, split_seed, overrides: see `Plan`.
        held_out: only these folds, as in "0,2".
        first: only so many folds, the first ones.

    Raises:
        UsageError: a file is missing or wrong, two have one name, they tell different tasks, or a fold does not exist.
    """
    if data.suffix.lower() in {".yaml", ".yml"}:
        raise UsageError(f"{data} is no data set; name that first: faceline compare DATA {data} ...")
    for override in overrides:
        if (key := override.partition("=")[0].strip()) in (*FIXED_KEYS, "split"):
            raise UsageError(f"--set {override}: every run gets its {key} from --folds, --seeds and --split-seed")
    configurations = tuple(_configuration(file, overrides) for file in files)
    for number, one in enumerate(configurations):
        for other in configurations[:number]:
            if other.name.casefold() == one.name.casefold():
                where = out / one.name
                raise UsageError(f"{other.file} and {one.file} would share the folder {where}; rename one of them")
        _refuse_other_labels(configurations[0], one)
    chosen = _chosen_folds(folds, held_out, first)
    return Plan(data, out, configurations, folds, chosen, seeds, split_seed, tuple(overrides))


def train_plan(plan: Plan, context: RunContext, after_round: Callable[[int], None]) -> None:
    """Train what is not trained yet.

    Args:
        plan: what to train.
        job: cache, device, workers and where to show progress; its settings are not used.
        after_round: called with the number of complete rounds after each in which something was trained.

    Raises:
        UsageError: the folder holds runs with other settings or of other photos.
        FacelineError: a run failed; the message names it.
    """
    for seed, fold in plan.rounds():
        for one in plan.configurations:
            refuse_other_settings(plan.run(one.name, seed, fold), plan.settings(one, seed, fold))
    intake = load_and_validate(plan.data, replace(context, settings=plan.configurations[0].settings))
    _check_people(plan, intake)
    _record_photos(plan, intake)
    for one in plan.configurations:
        detect_photos(intake.dataset.train, replace(context, settings=one.settings), sources=intake.sources)
    quiet = replace(context, console=replace(context.console, quiet=True))
    for number, (seed, fold) in enumerate(plan.rounds(), 1):
        trained = False
        for one in plan.configurations:
            run, what = plan.run(one.name, seed, fold), f"{one.name}, seed {seed}, fold {fold}"
            if is_finished(run):
                context.console.line(f"{what}: was trained before")
            else:
                context.console.line(f"{what}: training (round {number} of {len(plan.rounds())})")
                told = _train(intake, run, replace(quiet, settings=plan.settings(one, seed, fold)), what)
                context.console.line(f"{what}: {told}")
                trained = True
            _check_folds(run, plan.run(plan.configurations[0].name, *plan.rounds()[0]))
        if trained:
            after_round(number)


def is_finished(run: Path) -> bool:
    """Whether a training ended there and left what it told of the held-out people."""
    try:
        status = json.loads((run / "run.json").read_text(encoding="utf-8"))["status"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return status == "finished" and (run / "validation.csv").is_file()


def _configuration(file: Path, overrides: Sequence[str]) -> Configuration:
    if not file.is_file():
        raise UsageError(f"there is no file {file}")
    return Configuration(file.stem, file, load_settings(file, overrides))


def _refuse_other_labels(first: Configuration, other: Configuration) -> None:
    """Scores can be compared only where the same is asked of the same photos."""
    asked, told = ({task.name: task for task in one.settings.task_list()} for one in (first, other))
    where = f"{first.file} and {other.file}"
    for name in [*asked, *told]:
        if name not in asked or name not in told:
            has, lacks = (first.file, other.file) if name in asked else (other.file, first.file)
            raise UsageError(
                f"{has} tells {name} and {lacks} does not; compare settings that tell the same tasks "
                f"(--set tasks.{name}=null leaves it out of all)"
            )
        if asked[name] != told[name]:
            raise UsageError(f"{where} define {name} differently; its classes, edges and range must be the same")
    if list(asked) != list(told):
        raise UsageError(f"{where} have their tasks in different orders: {', '.join(asked)} and {', '.join(told)}")
    if first.settings.data != other.settings.data:
        raise UsageError(f"{where} read other labels (data.columns, data.corrections); they must be the same")


def _chosen_folds(folds: int, held_out: str | None, first: int | None) -> tuple[int, ...]:
    if held_out is not None and first is not None:
        raise UsageError("--held-out and --first both choose folds; use one of them")
    if first is not None and first > folds:
        raise UsageError(f"--first {first}: there are {folds} folds only; raise --folds")
    if held_out is None:
        return tuple(range(folds if first is None else first))
    words = [word.strip() for word in held_out.split(",")]
    if not all(word.isdecimal() and int(word) < folds for word in words):
        raise UsageError(f"--held-out {held_out}: name folds from 0 to {folds - 1}, as in --held-out 0,{folds - 1}")
    return tuple(sorted({int(word) for word in words}))


def _check_people(plan: Plan, intake: ValidatedDataset) -> None:
    people = len({photo.person for photo in intake.dataset.train})
    if people < plan.folds:
        raise UsageError(f"--folds {plan.folds}: {plan.data} has labelled photos of {people} people only")


def _record_photos(plan: Plan, intake: ValidatedDataset) -> None:
    """Keep what the comparison is about, or make sure that it is still that."""
    photos = [
        [photo.name, intake.sources.get(photo.path, ""), photo.person, dict(photo.labels)]
        for photo in intake.dataset.train
    ]
    path, told = plan.out / "data.json", fingerprint({"photos": photos})
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("fingerprint") != told:
        raise UsageError(
            f"{plan.out} holds a comparison on other photos: some were added, removed or relabelled since.\n"
            "Compare into another folder with --out."
        )
    write_json(path, {"data": str(plan.data), "photos": len(photos), "fingerprint": told})


def _train(intake: ValidatedDataset, run: Path, context: RunContext, what: str) -> str:
    started = time.perf_counter()
    try:
        scores = train_on(intake, run, context).scores
    except FacelineError as error:
        raise type(error)(f"{what}: {error}") from error
    told = ", ".join(f"{name} {score.macro_f1:.3f}" for name, score in scores.items())
    return f"{told} in {time.perf_counter() - started:.0f} s"


def _check_folds(run: Path, first: Path) -> None:
    if (run / "folds.csv").read_bytes() != (first / "folds.csv").read_bytes():
        raise DataError(
            f"{run / 'folds.csv'} is not {first / 'folds.csv'}: with these settings other photos can be read, so the "
            "two can't be compared.\n`faceline detect` with the settings of each says how many are unreadable."
        )
