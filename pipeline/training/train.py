"""The training stage: labelled photos with crops -> folds -> trained networks -> bundle.

RUN/ gets folds.csv, data.json, metrics.jsonl, NETWORK/last.* and best.*, validation.csv and bundle/.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cache import atomic
from cache.errors import DataError
from classify.data.augmentation import augmenter_of
from classify.data.sample import Sample
from classify.data.training_set import NetworkData
from classify.evaluation.metrics import Score
from classify.inference.bundle import Bundle, TrainedNetwork, save_bundle, trained_network
from classify.inference.probabilities import probabilities
from classify.models.plan import Plan, plan_networks
from classify.tasks import UNLABELLED, joint_class
from classify.training.loop import Line, Machine, train_network
from pipeline.context import RunContext
from pipeline.detection.detect import Detection
from pipeline.evaluation.held_out_scores import HeldOut
from pipeline.intake.photo import AppliedCorrections, Photo
from pipeline.prediction.predict import crop_settings
from pipeline.settings import Settings
from pipeline.training.network_data import network_data, shared
from pipeline.training.samples import make_samples, record_data
from pipeline.training.teacher_targets import TeacherTargets


@dataclass(frozen=True, slots=True)
class Member:
    """One network of a run.

    Attributes:
        plan: what it tells and how it learns.
        fold: that it is not trained on.
        seed: of its training.
        name: of its file in the bundle.
        folder: below RUN.
    """

    plan: Plan
    fold: int | None
    seed: int
    name: str
    folder: Path


def ensemble_members(settings: Settings) -> Iterator[Member]:
    """Every network that a run trains: for each plan, one per held-out fold and seed."""
    split = settings.split
    for plan in plan_networks(settings.tasks):
        for fold in split.held_out_folds:
            for number in range(split.repeats):
                told = [f"fold{fold}"] * (split.held_out == "all") + [f"seed{number}"] * (split.repeats > 1)
                seed = settings.seed + 1000 * number
                yield Member(plan, fold, seed, "-".join([plan.name, *told]), Path(plan.name, *told))


def train_run(
    photos: Sequence[Photo],
    detection: Detection,
    run: Path,
    context: RunContext,
    corrections: Sequence[AppliedCorrections] = (),
    taught: TeacherTargets | None = None,
) -> dict[str, Score]:
    """Train every network and write the bundle.

    Args:
        photos: labelled ones.
        detection: their crops.
        run: the folder.
        job: settings, device and where to show progress.
        corrections: were made in the photos' labels.
        taught: what teachers told of the photos; learnt from beside the labels.

    Returns:
        The scores on the held-out photos: "joint" and one per task; empty when nothing was held out.

    Raises:
        DataError: a task has no labelled photo to train on, or there are too few people.
        UsageError: the run folder was made from other photos.
    """
    settings = context.settings
    samples = make_samples(photos, detection, run, context)
    record_data(samples, photos, detection, run, context, corrections)
    machine = Machine(context.torch_device(), context.loader_workers(), context.ranks)
    lines: dict[str, list[Line]] = {}
    networks: list[TrainedNetwork] = []
    held_out = HeldOut(settings.task_list(), samples)
    members = list(ensemble_members(settings))
    for member in members:  # everything that can be wrong with the data is told before anything is trained
        if member.seed == settings.seed:
            data = network_data(member.plan, samples, member.fold, detection, context)
            _refuse_unlearnt(member, data)
            if member.fold == members[0].fold:
                show_counts(member.plan, data, context)
    for member in members:
        data = shared(network_data(member.plan, samples, member.fold, detection, context, taught), run, context.ranks)
        report = _reporter(lines, member, run, context)
        network = train_network(
            member.plan, data, run / member.folder, seed=member.seed, machine=machine, report=report
        )
        one = trained_network(member.plan, member.name, network.to(machine.device))
        networks.append(one)
        rows = np.flatnonzero([member.fold is not None and sample.fold == member.fold for sample in samples])
        pixels, flip = data.pixels[rows], settings.predict.flip
        held_out.add(one, rows, probabilities(network, one.heads, pixels, one.normalise, machine.device, flip=flip))
        network.cpu()
    scores, decision_rules = held_out.finish(run, settings.predict)
    save_bundle(run / "bundle", replace(_bundle(networks, samples, scores, context), decision_rules=decision_rules))
    return scores


def train_as_worker(run: Path, context: RunContext) -> None:
    """What `train_run` in rank 0 is beside: the other processes' part of every training."""
    machine = Machine(context.torch_device(), context.loader_workers(), context.ranks)
    for member in ensemble_members(context.settings):
        data = shared(None, run, context.ranks)
        train_network(member.plan, data, run / member.folder, seed=member.seed, machine=machine, report=_say_nothing)


def _refuse_unlearnt(member: Member, data: NetworkData) -> None:
    for column, task in enumerate(member.plan.tasks):
        if not data.label_mask[data.train, column].any():
            when = "" if member.fold is None else f" when fold {member.fold} is held out"
            leave_out = f"--set tasks.{task.name}=null"
            raise DataError(
                f"{task.name}: no labelled photo is left to train on{when}; leave the task out with {leave_out}"
            )


def show_counts(plan: Plan, data: NetworkData, context: RunContext) -> None:
    """The table of what each class is trained on, before a network is trained."""
    augmenter = augmenter_of(plan)
    training_set = data.training_set(plan.heads)
    shown = augmenter.multipliers(training_set.kinds).astype(np.float64)
    if training_set.sampling_weights is not None:
        shown = shown.sum() * training_set.sampling_weights
    rows: list[list[object]] = []
    for column, task in enumerate(plan.tasks):
        codes = np.where(data.label_mask[:, column], data.codes[:, column], UNLABELLED)[data.train]
        checked = data.codes[data.validate, column]
        for code, name in enumerate(task.classes):
            photos, held_out = int((codes == code).sum()), int((checked == code).sum())
            rows.append([f"{task.name} {name}", photos, round(float(shown[codes == code].sum())), held_out])
            if not photos:
                context.console.warn(
                    f"{task.name}: no photo of class {name!r} is left to train on ({held_out} are held out), so it "
                    "will never be told; add labelled photos of it"
                )
    context.console.table("Training on", ["class", "photos", "shown an epoch", "held out"], rows, remark=True)


def _say_nothing(_: list[Line]) -> None:
    """Rank 0 reports."""


def _reporter(
    lines: dict[str, list[Line]], member: Member, run: Path, context: RunContext
) -> Callable[[list[Line]], None]:
    epochs, tasks = member.plan.train.epochs, len(member.plan.tasks)
    told = {"network": member.name} if member.name != member.plan.name else {}

    def report(history: list[Line]) -> None:
        lines[member.name] = [{**line, **told} for line in history]
        # Written whole from the checkpoints' histories: after a kill no line is there twice and none is missing.
        every = [json.dumps(line, allow_nan=False) + "\n" for one in lines.values() for line in one]
        atomic.write_text(run / "metrics.jsonl", "".join(every))
        last = history[-tasks:]
        scores = [f"{line['task']} {line['macro_f1']:.3f}" for line in last if "macro_f1" in line]
        held_out = f", macro-F1 {', '.join(scores)}" if scores else ""
        epoch, loss = last[0]["epoch"], last[0]["train_loss"]
        context.console.line(f"{member.name}: epoch {epoch} of {epochs}, loss {loss:.3f}{held_out}")

    return report


def _bundle(
    networks: Sequence[TrainedNetwork], samples: Sequence[Sample], scores: dict[str, Score], context: RunContext
) -> Bundle:
    tasks = context.settings.task_list()
    known = Counter(j for s in samples if (j := joint_class(tasks, s.codes)) != UNLABELLED)
    return Bundle(
        tuple(tasks),
        tuple(networks),
        crop_settings(context.settings.detect, context.settings.crop),
        {name: one.as_json() for name, one in scores.items()},
        known.most_common(1)[0][0] if known else 0,
        context.settings.predict.flip,
    )
