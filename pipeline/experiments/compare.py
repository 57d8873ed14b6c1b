"""Compare settings: train each configuration on the same folds of the same people.

In: DATA and settings files A.yaml, B.yaml ... Out: an ordinary run each in DIR/NAME/seed-S/fold-K/, for `results.py`.

Runs go round by round, all configurations on one fold before any on the next, so that a comparison that is interrupted
has results for the same folds from each. The same command again continues; finished runs are not trained again.
"""

import json
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cache.config import fingerprint
from cache.errors import DataError, FacelineError, UsageError
from pipeline.chain import ValidatedDataset, load_trainable, train_on, validate
from pipeline.context import RunContext
from pipeline.detection.detect import detect_photos
from pipeline.run_record import refuse_other_settings, write_json
from pipeline.settings import Settings, load_settings
from pipeline.training.run_photos import refuse_replaced_photos

FIXED_KEYS = (
    "seed",
    "split.folds",
    "split.held_out",
    "split.leave_out",
    "split.refit",
    "split.seed",
)  # the plan sets these in each run


@dataclass(frozen=True, slots=True)
class Configuration:
    """One of the compared settings.

    Attributes:
        name: names its folder and its row in the tables.
        settings: as read from it; each run replaces seed and split.
    """

    name: str
    file: Path
    settings: Settings


@dataclass(frozen=True, slots=True)
class Plan:
    """The runs of a comparison.

    Attributes:
        configurations: the others are measured against the first.
        folds: number of folds that the people are split into.
        held_out: the folds (from 0) that are held out, one per run.
        seeds: number of trainings per configuration and fold, with seeds from 0.
        split_seed: seed of the split into folds.
        overrides: key=value settings for all configurations.
        base: settings files below all configurations.
    """

    data: Path
    out: Path
    configurations: tuple[Configuration, ...]
    folds: int
    held_out: tuple[int, ...]
    seeds: int
    split_seed: int
    overrides: tuple[str, ...] = ()
    base: tuple[Path, ...] = ()

    def rounds(self) -> list[tuple[int, int]]:
        """(seed, fold) of each round, in order."""
        return [(seed, fold) for seed in range(self.seeds) for fold in self.held_out]

    def run(self, name: str, seed: int, fold: int) -> Path:
        """The folder of one run."""
        return self.out / name / f"seed-{seed}" / f"fold-{fold}"

    def settings(self, configuration: Configuration, seed: int, fold: int) -> Settings:
        """The settings of one run."""
        settings = configuration.settings
        split = {"folds": self.folds, "held_out": fold, "leave_out": 1, "refit": False, "seed": self.split_seed}
        return settings.model_copy(update={"seed": seed, "split": settings.split.model_copy(update=split)})

    def command(self) -> str:
        """The command line that makes this plan."""
        words = ["faceline", "compare", self.data, *(configuration.file for configuration in self.configurations)]
        words += ["--folds", self.folds, "--seeds", self.seeds]
        if self.split_seed:
            words += ["--split-seed", self.split_seed]
        if self.held_out != tuple(range(self.folds)):
            words += ["--held-out", ",".join(map(str, self.held_out))]
        words += [word for file in self.base for word in ("--config", file)]
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
    base: Sequence[Path] = (),
) -> Plan:
    """Read all settings and check that they can be compared, before anything is trained.

    Args:
        files: settings, one file per configuration.
        folds, seeds, split_seed, overrides, base: see `Plan`.
        held_out: only these folds, as in "0,2".
        first: only this many folds, from fold 0.

    Raises:
        UsageError: a file is missing or invalid, two files have one name or different tasks, or a fold does not exist.
    """
    if data.suffix.lower() in {".yaml", ".yml"}:
        raise UsageError(f"{data} is no data set; name that first: faceline compare DATA {data} ...")
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in (*FIXED_KEYS, "split"):
            raise UsageError(f"--set {override}: each run gets its {key} from --folds, --seeds and --split-seed")
    for file in files:
        if not file.is_file():
            raise UsageError(f"there is no file {file}")
    configurations = tuple(Configuration(file.stem, file, load_settings([*base, file], overrides)) for file in files)
    for number, configuration in enumerate(configurations):
        for other in configurations[:number]:
            if other.name.casefold() == configuration.name.casefold():
                where = f"{other.file} and {configuration.file}"
                raise UsageError(f"{where} would share the folder {out / configuration.name}; rename one of them")
        _refuse_other_labels(configurations[0], configuration)
    chosen = _chosen_folds(folds, held_out, first)
    return Plan(data, out, configurations, folds, chosen, seeds, split_seed, tuple(overrides), tuple(base))


def train_plan(plan: Plan, context: RunContext, after_round: Callable[[int], None]) -> None:
    """Train the runs that are not finished yet.

    Args:
        context: cache, device, workers and console; its settings are not used.
        after_round: called with the number of complete rounds after each round in which something was trained.

    Raises:
        UsageError: the folder holds runs with other settings or of other photos.
        FacelineError: a run failed; the message names it.
    """
    # Refuse a folder that holds another comparison, before anything is loaded.
    for seed, fold in plan.rounds():
        for configuration in plan.configurations:
            refuse_other_settings(plan.run(configuration.name, seed, fold), plan.settings(configuration, seed, fold))
    # All configurations read the same labels, so the data set is loaded once.
    first_context = replace(context, settings=plan.configurations[0].settings)
    dataset = load_trainable(plan.data, first_context)
    if any(photo.held_out is not None for photo in dataset.train) and plan.held_out != (0,):
        raise UsageError(f"{plan.data} says itself which photos are held out; compare on these: --held-out 0")
    _refuse_unusable(plan)
    validated = validate(dataset, first_context)
    people = len({photo.person for photo in validated.dataset.train})
    if people < plan.folds:
        raise UsageError(f"--folds {plan.folds}: {plan.data} has labelled photos of only {people} people")
    _record_photos(plan, validated)
    # Crops of all configurations first: missing photos and detectors show before hours of training.
    for configuration in plan.configurations:
        detect_context = replace(context, settings=configuration.settings)
        detect_photos(validated.dataset.train, detect_context, sources=validated.sources)
    quiet = replace(context, console=replace(context.console, quiet=True))
    first_run = plan.run(plan.configurations[0].name, *plan.rounds()[0])
    for number, (seed, fold) in enumerate(plan.rounds(), 1):
        trained = False
        for configuration in plan.configurations:
            run = plan.run(configuration.name, seed, fold)
            title = f"{configuration.name}, seed {seed}, fold {fold}"
            if is_finished(run):
                context.console.line(f"{title}: was trained before")
            else:
                context.console.line(f"{title}: training (round {number} of {len(plan.rounds())})")
                run_context = replace(quiet, settings=plan.settings(configuration, seed, fold))
                context.console.line(f"{title}: {_train(validated, run, run_context, title)}")
                trained = True
            _check_folds(run, first_run)
        if trained:
            after_round(number)


def is_finished(run: Path) -> bool:
    """Whether a training ended there and left its predictions for the held-out people."""
    try:
        status = json.loads((run / "run.json").read_text(encoding="utf-8"))["status"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return status == "finished" and (run / "validation.csv").is_file()


def _refuse_other_labels(first: Configuration, other: Configuration) -> None:
    """Raise a UsageError unless both have the same tasks and read the same labels, so that scores are comparable."""
    first_tasks, other_tasks = ({task.name: task for task in c.settings.task_list()} for c in (first, other))
    where = f"{first.file} and {other.file}"
    for name in [*first_tasks, *other_tasks]:
        if name not in first_tasks or name not in other_tasks:
            has, lacks = (first.file, other.file) if name in first_tasks else (other.file, first.file)
            raise UsageError(
                f"{has} has the task {name} and {lacks} does not; compare settings with the same tasks "
                f"(--set tasks.{name}=null leaves it out of all)"
            )
        if first_tasks[name] != other_tasks[name]:
            raise UsageError(f"{where} define {name} differently; its classes, edges and range must be the same")
    if list(first_tasks) != list(other_tasks):
        raise UsageError(f"{where} do not have their tasks in the same order: {[*first_tasks]} and {[*other_tasks]}")
    if first.settings.data != other.settings.data:
        raise UsageError(f"{where} read different labels (data.columns, data.corrections); they must be the same")


def _refuse_unusable(plan: Plan) -> None:
    """Raise an error, which names the file, if a configuration can't be trained."""
    from pipeline.training.settings_check import refuse_unusable_settings

    for configuration in plan.configurations:
        try:
            refuse_unusable_settings(configuration.settings)
        except FacelineError as error:
            raise type(error)(f"{configuration.file}: {error}") from error


def _chosen_folds(folds: int, held_out: str | None, first: int | None) -> tuple[int, ...]:
    """The folds that --held-out or --first choose; all by default."""
    if held_out is not None and first is not None:
        raise UsageError("--held-out and --first both choose folds; use one of them")
    if first is not None and first > folds:
        raise UsageError(f"--first {first}: there are only {folds} folds; raise --folds")
    if held_out is None:
        return tuple(range(folds if first is None else first))
    words = [word.strip() for word in held_out.split(",")]
    if not all(word.isdecimal() and int(word) < folds for word in words):
        raise UsageError(f"--held-out {held_out}: name folds from 0 to {folds - 1}, as in --held-out 0,{folds - 1}")
    return tuple(sorted({int(word) for word in words}))


def _record_photos(plan: Plan, validated: ValidatedDataset) -> None:
    """Record the photos and labels in DIR/data.json; raise a UsageError if it records others."""
    train, sources = validated.dataset.train, validated.sources
    refuse_replaced_photos(plan.run(plan.configurations[0].name, *plan.rounds()[0]), train, sources)  # names them
    photos = [[photo.name, sources.get(photo.path, ""), photo.person, dict(photo.labels)] for photo in train]
    path, photos_fingerprint = plan.out / "data.json", fingerprint({"photos": photos})
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("fingerprint") != photos_fingerprint:
        raise UsageError(
            f"{plan.out} holds a comparison on other photos: some were added, removed, replaced or relabelled since.\n"
            "Compare into another folder with --out."
        )
    write_json(path, {"data": str(plan.data), "photos": len(photos), "fingerprint": photos_fingerprint})


def _train(validated: ValidatedDataset, run: Path, context: RunContext, title: str) -> str:
    """Train one run and return its scores and seconds as text; an error of the run names `title`."""
    started = time.perf_counter()
    try:
        scores = train_on(validated, run, context).scores
    except FacelineError as error:
        raise type(error)(f"{title}: {error}") from error
    scores_text = ", ".join(f"{name} {score.macro_f1:.3f}" for name, score in scores.items())
    return f"{scores_text} in {time.perf_counter() - started:.0f} s"


def _check_folds(run: Path, first_run: Path) -> None:
    """Raise a DataError if the two runs split the people differently."""
    if (run / "folds.csv").read_bytes() != (first_run / "folds.csv").read_bytes():
        raise DataError(
            f"{run / 'folds.csv'} differs from {first_run / 'folds.csv'}: the settings make different photos readable, "
            "so the two can't be compared.\n`faceline detect` with each of the settings counts the unreadable ones."
        )
