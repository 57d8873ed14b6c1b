"""Everything that prediction needs, in one folder or one .zip.

bundle/bundle.json (tasks, crop spec, input sizes, mean and std, model names, metrics, sha256 of every file), one
safetensors file per network, and one about the photos that they were trained on <-> Bundle.

The crop's settings travel with the weights: a bundle can't be used on crops that its networks were not trained on.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from cache import atomic
from cache.errors import BundleError
from classify.config import HeadConfig, ModelConfig, TaskConfig
from classify.inference.bundle_check import description_problems, tasks_of_network
from classify.inference.bundle_files import DESCRIPTION, FORMAT, BundleFiles, open_bundle
from classify.inference.decision import DecisionRule, Probabilities
from classify.inference.trained_photos import TrainedPhotos
from classify.models.backbones import Normalise, build_network, normalise_of
from classify.models.heads import Heads
from classify.models.network_plan import Plan
from classify.models.pretrained_weights import Architecture, origin_record
from classify.models.weights_origin import weights_origin
from classify.tasks import Task, describe_task, read_task

TRAINED_PHOTOS = "trained_photos.safetensors"
OPTIONAL = ("decide", "held_out_temperatures", "data", "groups", "card", "written_by")  # not in all older bundles


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """A trained network with the way its input is made and what its outputs mean."""

    name: str  # of its file in the bundle, without the ending
    plan: Plan  # the tasks that it predicts, their heads, and its model; the settings of its training are not kept
    normalise: Normalise  # from pixels to what the network expects
    network: nn.Module  # in evaluation mode
    held_out: tuple[int, ...] = ()  # folds of the run's photos that it was not trained on

    @property
    def heads(self) -> Heads:
        """What the network's outputs mean."""
        return self.plan.heads

    @property
    def model(self) -> ModelConfig:
        """Backbone, input size and zoom."""
        return self.plan.model


@dataclass(frozen=True, slots=True)
class Bundle:
    """What training leaves for prediction."""

    tasks: tuple[Task, ...]  # in config order
    # each task is predicted by one or more; of several, the mean probabilities count
    networks: tuple[TrainedNetwork, ...]
    crop: Mapping[str, Any]  # the settings that made the crops, as `crop_settings` wrote them, with their fingerprint
    metrics: Mapping[str, Any]  # validation scores, for people to read
    most_frequent: int  # the joint class that a submission gets for a photo that can't be read
    flip: bool  # average over each crop and its mirror image
    # per task, how probabilities become an answer; argmax where there is none
    decision_rules: Mapping[str, DecisionRule] = field(default_factory=dict[str, DecisionRule])
    trained_photos: TrainedPhotos | None = None  # of the run; None if that is not known
    decide: str = ""  # what factors were fitted for, as `predict.decide` has it; empty in bundles of older versions
    # per task, the temperature of the mean of those networks that held a person out; that of all where there is none
    held_out_temperatures: Mapping[str, float] = field(default_factory=dict[str, float])
    # for people: how many photos of what the networks are from, and how good the predictions are in groups of photos
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    groups: Sequence[Mapping[str, Any]] = ()
    card: Mapping[str, Any] = field(default_factory=dict[str, Any])  # licence and use, as the settings have them
    written_by: Mapping[str, str] = field(default_factory=dict[str, str])  # versions of faceline and its libraries

    def decision_rule(self, task: str) -> DecisionRule:
        """How a task's mean probabilities become an answer."""
        return self.decision_rules.get(task, DecisionRule())

    def calibrated(self, task: str, mean: Probabilities, is_held_out: NDArray[np.bool_]) -> Probabilities:
        """Apply a task's temperatures.

        Args:
            task: its name.
            mean: (N, C) mean probabilities.
            is_held_out: (N,) which of them are of the networks that held a person out, not of all.
        """
        rule = self.decision_rule(task)
        calibrated = rule.calibrated(mean)
        held_out_rule = replace(rule, temperature=self.held_out_temperatures.get(task, rule.temperature))
        calibrated[is_held_out] = held_out_rule.calibrated(mean[is_held_out])
        return calibrated


def save_bundle(folder: Path, bundle: Bundle) -> None:
    """Write the bundle; bundle.json comes last, so that a folder without it is no bundle."""
    models: dict[str, Any] = {}
    for trained in bundle.networks:
        weights = {name: tensor.contiguous() for name, tensor in trained.network.state_dict().items()}
        content = save(weights)
        file = f"{trained.name}.safetensors"
        atomic.write_bytes(folder / file, content)
        models[trained.name] = {
            "file": file,
            "sha256": hashlib.sha256(content).hexdigest(),
            "tasks": [task.name for task in trained.plan.tasks],
            "heads": [
                {**config.head.model_dump(mode="json"), "top": config.head.open_end} for config in trained.plan.configs
            ],
            "joint": trained.plan.joint,
            "model": trained.model.model_dump(mode="json"),
            **origin_record(trained.model),
            "weights": weights_origin(trained.model),
            "mean": list(trained.normalise.mean),
            "std": list(trained.normalise.std),
            "held_out": list(trained.held_out),
        }
    trained_photos = None
    if bundle.trained_photos is not None:
        content = bundle.trained_photos.to_bytes()
        atomic.write_bytes(folder / TRAINED_PHOTOS, content)
        sha256, photos = hashlib.sha256(content).hexdigest(), len(bundle.trained_photos.keys)
        trained_photos = {"file": TRAINED_PHOTOS, "sha256": sha256, "photos": photos}
    description = {
        "format": FORMAT,
        "tasks": {task.name: describe_task(task) for task in bundle.tasks},
        "crop": dict(bundle.crop),
        "models": models,
        "metrics": dict(bundle.metrics),
        "most_frequent": bundle.most_frequent,
        "flip": bundle.flip,
        "decision_rules": {name: decision_rule.as_json() for name, decision_rule in bundle.decision_rules.items()},
        "trained_photos": trained_photos,
        "decide": bundle.decide,
        "held_out_temperatures": dict(bundle.held_out_temperatures),
        "data": dict(bundle.data),
        "groups": [dict(group) for group in bundle.groups],
        "card": dict(bundle.card),
        "written_by": dict(bundle.written_by),
    }
    atomic.write_text(folder / DESCRIPTION, json.dumps(description, indent=1, allow_nan=False))


def load_bundle(path: Path) -> Bundle:
    """Read and check a bundle, a folder or a .zip.

    Raises:
        BundleError: no bundle is there, it is of a newer version, a file is missing or changed, or two parts of it do
            not fit together.
    """
    files = open_bundle(path)
    for problem in description_problems(files.description):
        raise BundleError(f"{files.where(DESCRIPTION)} {problem}; train again to remake it")
    description = files.description
    tasks = tuple(read_task(name, entry) for name, entry in description["tasks"].items())
    networks = tuple(load_trained_network(files, name, tasks) for name in description["models"])
    rules = description.get("decision_rules", description.get("verdicts", {}))  # "verdicts" until format 2
    decision_rules = {name: DecisionRule(**entry) for name, entry in rules.items()}
    kept = {key: description[key] for key in ("crop", "metrics", "most_frequent", "flip")}
    kept |= {key: description[key] for key in OPTIONAL if key in description}
    return Bundle(tasks, networks, decision_rules=decision_rules, trained_photos=load_trained_photos(files), **kept)


def load_trained_network(files: BundleFiles, name: str, tasks: tuple[Task, ...]) -> TrainedNetwork:
    """Check one weights file against its entry in bundle.json and build the network.

    Raises:
        BundleError: the file is missing, changed, or does not fit what bundle.json says about the network.
    """
    entry = files.description["models"][name]
    content = files.checked(entry)
    try:
        model, plan = _plan(name, entry, tasks)
        architecture = Architecture(**entry["architecture"]) if "architecture" in entry else None
        network = build_network(model, plan.heads.outputs, pretrained=False, architecture=architecture)
    except (KeyError, TypeError, ValueError) as error:
        where = files.where(DESCRIPTION)
        raise BundleError(f"{where} lacks or misstates models.{name}: {error}; train again to remake it") from error
    try:
        network.load_state_dict(load(content))
    except (SafetensorError, RuntimeError) as error:
        where = files.where(entry["file"])
        raise BundleError(
            f"{where} does not fit {model.backbone} with {plan.heads.outputs} outputs: {error}"
        ) from error
    normalise = Normalise(tuple(entry["mean"]), tuple(entry["std"]))
    return TrainedNetwork(name, plan, normalise, network.eval(), tuple(entry.get("held_out", ())))


def _plan(name: str, entry: Mapping[str, Any], tasks: tuple[Task, ...]) -> tuple[ModelConfig, Plan]:
    """What a network's entry says about its backbone, and about its tasks and heads."""
    model = ModelConfig(**entry["model"])
    task_names = tasks_of_network(name, entry)
    heads = entry.get("heads", [{}] * len(task_names))
    tasks_by_name = {task.name: task for task in tasks}
    predicted_tasks = tuple(tasks_by_name[task_name] for task_name in task_names)
    configs = tuple(
        # The first bundles knew no open end, which decides the number of outputs.
        _task_config(task, HeadConfig.model_validate({"top": None, **head}), model)
        for task, head in zip(predicted_tasks, heads, strict=True)
    )
    return model, Plan(name, predicted_tasks, configs, entry.get("joint", False))


def load_trained_photos(files: BundleFiles) -> TrainedPhotos | None:
    """Read the record of the run's photos; None if an older version made the bundle, or if the file was taken out.

    Raises:
        BundleError: it was changed.
    """
    entry = files.description.get("trained_photos")
    if entry is None or not files.has(entry["file"]):
        return None
    content = files.read(entry["file"])
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        where = files.where(entry["file"])
        raise BundleError(f"{where} is not the bundle's file (its sha256 differs); copy it again, or delete it")
    return TrainedPhotos.from_bytes(content)


def _task_config(task: Task, head: HeadConfig, model: ModelConfig) -> TaskConfig:
    """The settings that prediction needs; 0 to 120 is the default range."""
    limits = (task.low, task.high) if task.edges else (0, 120)
    return TaskConfig(classes=task.classes, edges=task.edges, range=limits, head=head, model=model)


def trained_network(plan: Plan, name: str, network: nn.Module, held_out: tuple[int, ...] = ()) -> TrainedNetwork:
    """Put a network together with the plan and folds that it was trained by and the normalisation of its input."""
    return TrainedNetwork(name, plan, normalise_of(network), network, held_out)
