"""The training stage.

In: labelled photos with crops. Out: in RUN/, folds.csv, data.json, class_counts.jsonl, metrics.jsonl, NETWORK/last.*
and best.*, validation.csv and bundle/.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cache.errors import DataError
from classify.data.augmentation import build_augmenter
from classify.data.sample import Sample
from classify.data.training_set import NetworkData, Pixels
from classify.evaluation.metrics import Score
from classify.inference.bundle import Bundle, TrainedNetwork, save_bundle, trained_network
from classify.inference.probabilities import frozen_probabilities, probabilities
from classify.inference.trained_photos import TrainedPhotos
from classify.models.frozen_features import FrozenFeatures
from classify.models.network_plan import Plan, plan_networks
from classify.tasks import UNLABELLED, Task, joint_class
from classify.training.loop import ComputeSetup, EpochMetrics, train_network
from classify.training.network_trial import refuse_unusable_network
from pipeline.context import RunContext
from pipeline.detection.detect import Detection
from pipeline.evaluation.held_out_scores import HeldOut
from pipeline.intake.photo import AppliedCorrections, Photo
from pipeline.prediction.crop_settings import crop_settings
from pipeline.run_record import keep_json_lines, versions
from pipeline.settings import Settings
from pipeline.training.bundle_facts import data_facts, group_facts
from pipeline.training.class_counts import ClassCount, class_counts, keep_counts, show_counts
from pipeline.training.curves import write_curves
from pipeline.training.network_data import View, network_data, share_with_ranks
from pipeline.training.open_ends import with_open_ends
from pipeline.training.progress import NetworkWork, TrainingProgress, training_progress
from pipeline.training.samples import make_samples, record_data
from pipeline.training.settings_check import settings_without_effect
from pipeline.training.teacher_targets import TeacherTargets
from pipeline.training.trackers import Trackers


@dataclass(frozen=True, slots=True)
class Member:
    """One network of a run."""

    plan: Plan
    held_out: tuple[int, ...]  # folds that it is not trained on
    seed: int
    name: str  # of its file in the bundle
    folder: Path  # below RUN

    @property
    def backbone(self) -> tuple[int, int]:
        """What members with the same backbone, if it is frozen, have in common."""
        return id(self.plan), self.seed


def ensemble_members(settings: Settings) -> Iterator[Member]:
    """Yield every network that a run trains: for each plan, one per choice of held-out folds and seed."""
    split = settings.split
    for kind, configs in settings.task_configs.items():
        for plan in plan_networks(configs):
            for held_out in split.held_out_folds:
                for number in range(split.repeats):
                    parts = [kind] * bool(kind)
                    if split.held_out == "all":
                        parts.append(f"fold{held_out[0]}" if held_out else "all")
                    parts += [f"seed{number}"] * (split.repeats > 1)
                    seed = settings.seed + 1000 * number
                    yield Member(plan, held_out, seed, "-".join([plan.name, *parts]), Path(plan.name, *parts))


def train_run(
    photos: Sequence[Photo],
    detection: Detection,
    run: Path,
    context: RunContext,
    corrections: Sequence[AppliedCorrections] = (),
    teacher_targets: TeacherTargets | None = None,
    trackers: Trackers | None = None,
) -> Mapping[str, Score]:
    """Train every network on labelled photos, and on the teachers' targets for them, and write the bundle.

    The corrections were applied to the labels before; data.json records them. The trackers get every epoch's metrics.

    Returns:
        The scores on the held-out photos, "joint" and one per task; empty when nothing was held out.

    Raises:
        DataError: a task has no labelled photo to train on, or there are too few people.
        UsageError: the run folder was made from other photos.
    """
    context = with_open_ends(context, photos)
    settings = context.settings
    samples = make_samples(photos, detection, run, context)
    record_data(samples, photos, detection, run, context, corrections)

    for warning in settings_without_effect(settings):
        context.console.warn(warning)

    # Data of every member, so that whatever is wrong with it is reported before anything is trained
    members = list(ensemble_members(settings))
    member_data = _data_of_members(members, samples, detection, run, context, teacher_targets)

    # Train
    compute = ComputeSetup(context.torch_device(), context.loader_workers(), context.ranks)
    metrics: dict[str, list[EpochMetrics]] = {}
    networks: list[TrainedNetwork] = []
    held_out = HeldOut(settings.task_list(), samples)
    kept_features = _kept_features(members)
    work = {member.name: _work(member, data) for member, data in zip(members, member_data, strict=True)}
    with training_progress(context.console, work) as progress:
        for member, data in zip(members, member_data, strict=True):
            share_with_ranks(data, run, context.ranks)
            frozen = kept_features.get(member.backbone)
            network = train_network(
                member.plan,
                data,
                run / member.folder,
                seed=member.seed,
                compute=compute,
                on_epoch_end=_reporter(metrics, member, run, context, trackers, progress),
                on_step=partial(progress.step, member.name),
                frozen=frozen,
            )
            trained = trained_network(member.plan, member.name, network.to(compute.device), member.held_out)
            votes = not (settings.split.refit and member.held_out)
            if votes:
                networks.append(trained)

            # Predict the held-out photos
            rows = np.flatnonzero([sample.fold in member.held_out for sample in samples])
            flip, heads, device = settings.predict.flip, trained.heads, compute.device
            if frozen:
                predicted = frozen_probabilities(network, heads, data.pixels, frozen, device, flip=flip, rows=rows)
            else:
                normalise = trained.normalise
                predicted = probabilities(network, heads, data.pixels, normalise, device, flip=flip, rows=rows)
            held_out.add(trained, rows, predicted, votes=votes)
            network.cpu()

    # Scores and bundle
    found = held_out.finish(run, settings.predict, context.console)
    bundle = Bundle(
        tuple(settings.task_list()),
        tuple(networks),
        crop_settings(settings.detect, settings.crop),
        {name: score.as_json() for name, score in found.scores.items()},
        _most_frequent_class(samples, settings.task_list()),
        settings.predict.flip,
        found.decision_rules,
        TrainedPhotos.of([sample.source for sample in samples], [sample.fold for sample in samples]),
        settings.predict.decide,
        found.held_out_temperatures,
        data_facts(run, settings.task_list(), settings.held_out_note),
        group_facts(run, settings.task_list()),
        settings.card.model_dump(mode="json"),
        versions(),
    )
    save_bundle(run / "bundle", bundle)
    return found.scores


def _kept_features(members: Sequence[Member]) -> dict[tuple[int, int], FrozenFeatures]:
    """Return a place for the features of each frozen backbone that several members share."""
    counts = Counter(member.backbone for member in members if member.plan.train.freeze)
    return {backbone: FrozenFeatures() for backbone, count in counts.items() if count > 1}


def train_as_worker(run: Path, context: RunContext) -> None:
    """Take part in every training of `train_run`, which runs in rank 0."""
    context = with_open_ends(context, [])
    compute = ComputeSetup(context.torch_device(), context.loader_workers(), context.ranks)
    for member in ensemble_members(context.settings):
        data = share_with_ranks(None, run, context.ranks)
        folder = run / member.folder
        train_network(member.plan, data, folder, seed=member.seed, compute=compute, on_epoch_end=lambda _: None)


def _data_of_members(
    members: Sequence[Member],
    samples: Sequence[Sample],
    detection: Detection,
    run: Path,
    context: RunContext,
    teacher_targets: TeacherTargets | None,
) -> list[NetworkData]:
    """Make, check and show the data of each member; those that differ only in their seed share it."""
    made: dict[tuple[int, tuple[int, ...]], NetworkData] = {}
    packs: dict[View, Pixels] = {}  # shared by all members, as they may have to be in memory
    shown: list[ClassCount] = []
    for member in members:
        plan, key = member.plan, (id(member.plan), member.held_out)  # of several kinds, all plans may have one name
        if key not in made:
            data = made[key] = network_data(plan, samples, member.held_out, detection, context, teacher_targets, packs)
            _refuse_unlabelled_tasks(member, data)
            _refuse_single_photo(plan, data)
            if member.held_out == members[0].held_out:
                counts = class_counts(plan, data, member.name)
                show_counts(counts, context)
                shown += counts
    keep_counts(run, shown, context)
    return [made[id(member.plan), member.held_out] for member in members]


def _refuse_unlabelled_tasks(member: Member, data: NetworkData) -> None:
    for column, task in enumerate(member.plan.tasks):
        if not data.label_mask[data.train, column].any():
            folds = ", ".join(map(str, member.held_out))
            when = f" when fold {folds} is held out" if member.held_out else ""
            leave_out = f"--set tasks.{task.name}=null"
            raise DataError(
                f"{task.name}: no labelled photo is left to train on{when}; leave the task out with {leave_out}"
            )


def _refuse_single_photo(plan: Plan, data: NetworkData) -> None:
    """Try the network on one photo if there is only one to train on, which batch norm may not take."""
    if build_augmenter(plan).multipliers(data.training_set(plan.heads).augmentation_groups).sum() == 1:
        refuse_unusable_network(plan, step_size=1)


def _work(member: Member, data: NetworkData) -> NetworkWork:
    """How much there is to train of a network."""
    train, (height, width) = member.plan.train, member.plan.model.input
    groups = data.training_set(member.plan.heads).augmentation_groups
    images = int(build_augmenter(member.plan).multipliers(groups).sum())
    return NetworkWork(train.passes, images, height * width)


def _reporter(
    metrics: dict[str, list[EpochMetrics]],
    member: Member,
    run: Path,
    context: RunContext,
    trackers: Trackers | None,
    progress: TrainingProgress,
) -> Callable[[list[EpochMetrics]], None]:
    """Return a callback that puts a member's metrics among those of all, writes and draws them, and prints a line."""
    epochs, tasks = member.plan.train.epochs, len(member.plan.tasks)
    task_names = [task.name for task in context.settings.task_list()]
    name = {"network": member.name} if member.name != member.plan.name else {}

    def report(history: list[EpochMetrics]) -> None:
        metrics[member.name] = [{**line, **name} for line in history]
        # Rewritten from the checkpoints' histories: after a kill, no line is there twice and none is missing.
        lines = [line for member_lines in metrics.values() for line in member_lines]
        keep_json_lines(run / "metrics.jsonl", lines, context.console.warn)
        write_curves(run, lines, task_names, context.console.warn)
        if trackers:
            trackers.log_epochs(member.name, metrics[member.name])
        last = history[-tasks:]
        scores = [f"{line['task']} {line['macro_f1']:.3f}" for line in last if "macro_f1" in line]
        held_out = f", macro-F1 {', '.join(scores)}" if scores else ""
        epoch, loss = last[0]["epoch"], last[0]["train_loss"]
        speed = progress.epoch_ended(member.name, history)
        facts = f"loss {loss:.3f}{held_out}" + (f", {speed}" if speed else "")
        done = "last layer fitted" if member.plan.train.freeze else f"epoch {epoch} of {epochs}"
        context.console.line(f"{member.name}: {done}, {facts}")

    return report


def _most_frequent_class(samples: Sequence[Sample], tasks: Sequence[Task]) -> int:
    """Return the joint class with the most samples; 0 if no sample has all labels."""
    joint = [joint_class(tasks, sample.codes) for sample in samples]
    counts = Counter(code for code in joint if code != UNLABELLED)
    return counts.most_common(1)[0][0] if counts else 0
