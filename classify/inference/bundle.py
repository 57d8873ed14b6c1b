"""All that prediction needs, in one folder.

bundle/bundle.json (tasks, crop spec, input sizes, mean and std, model names, metrics, sha256 of every weights file) and
one safetensors file per network <-> Bundle.

The crop's settings travel with the weights: a bundle can't be used on crops that its networks were not trained on.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from cache import atomic
from cache.errors import BundleError
from classify.config import HeadConfig, ModelConfig, TaskConfig
from classify.inference.decision import DecisionRule
from classify.models.backbones import Normalise, build_network, normalise_of
from classify.models.heads import Heads
from classify.models.plan import Plan
from classify.tasks import Task

FORMAT = 2


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """A trained network with the way its input is made and what its outputs mean.

    Attributes:
        name: of its file.
        plan: the tasks that it tells, their heads, and its model; the settings of its training are not kept.
        normalise: from pixels to what it expects.
        network: in evaluation mode.
    """

    name: str
    plan: Plan
    normalise: Normalise
    network: nn.Module

    @property
    def heads(self) -> Heads:
        """What its outputs mean."""
        return self.plan.heads

    @property
    def model(self) -> ModelConfig:
        """Backbone, input size and zoom."""
        return self.plan.model


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a training leaves for prediction.

    Attributes:
        tasks: in config order.
        networks: every task is told by at least one; where several tell it, they vote.
        crop: the settings that made the crops, as the detection room wrote them, with their fingerprint.
        metrics: validation scores, for people.
        most_frequent: the joint class that a submission gets for a photo that can't be read.
        flip: average over each crop and its mirror image.
        verdicts: per task, what becomes of the votes; argmax where there is none.
    """

    tasks: tuple[Task, ...]
    networks: tuple[TrainedNetwork, ...]
    crop: Mapping[str, Any]
    metrics: Mapping[str, Any]
    most_frequent: int
    flip: bool
    decision_rules: Mapping[str, DecisionRule] = field(default_factory=dict[str, DecisionRule])

    def decision_rule(self, task: str) -> DecisionRule:
        """What becomes of a task's votes."""
        return self.decision_rules.get(task, DecisionRule())


def save_bundle(folder: Path, bundle: Bundle) -> None:
    """Write the bundle; bundle.json comes last, so that a folder without it is no bundle."""
    models: dict[str, Any] = {}
    for one in bundle.networks:
        content = save({name: value.contiguous() for name, value in one.network.state_dict().items()})
        file = f"{one.name}.safetensors"
        atomic.write_bytes(folder / file, content)
        models[one.name] = {
            "file": file,
            "sha256": hashlib.sha256(content).hexdigest(),
            "tells": [task.name for task in one.plan.tasks],
            "heads": [config.head.model_dump(mode="json") for config in one.plan.configs],
            "joint": one.plan.joint,
            "model": one.model.model_dump(mode="json"),
            "mean": list(one.normalise.mean),
            "std": list(one.normalise.std),
        }
    described = {
        "format": FORMAT,
        "tasks": {task.name: _describe(task) for task in bundle.tasks},
        "crop": dict(bundle.crop),
        "models": models,
        "metrics": dict(bundle.metrics),
        "most_frequent": bundle.most_frequent,
        "flip": bundle.flip,
        "verdicts": {name: decision_rule.as_json() for name, decision_rule in bundle.decision_rules.items()},
    }
    atomic.write_text(folder / "bundle.json", json.dumps(described, indent=1, allow_nan=False))


def load_bundle(folder: Path) -> Bundle:
    """Read and check a bundle.

    Raises:
        BundleError: no bundle is there, it is of a newer version, or a file is missing or changed.
    """
    described = _read_description(folder)
    try:
        tasks = tuple(_task(name, facts) for name, facts in described["tasks"].items())
        if not described["models"]:
            raise KeyError("models")
        networks = tuple(_load_network(folder, name, tasks, facts) for name, facts in described["models"].items())
        decision_rules = {name: DecisionRule(**facts) for name, facts in described.get("verdicts", {}).items()}
        return Bundle(
            tasks, networks, described["crop"], described["metrics"], described["most_frequent"], described["flip"],
            decision_rules,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{folder / 'bundle.json'} lacks or misstates {error}; train again to remake it") from error


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / "bundle.json"
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(
            f"{folder} is no bundle: it holds no bundle.json. A finished training leaves one in RUN/bundle."
        ) from None
    except (ValueError, OSError) as error:
        raise BundleError(f"{path} can't be read ({error}); train again to remake it") from error
    if not isinstance(described, dict) or not isinstance(described.get("format"), int):
        raise BundleError(f"{path} is not the description of a bundle")
    if described["format"] > FORMAT:
        raise BundleError(f"{path} was written by a newer faceline (format {described['format']}); upgrade faceline")
    return described


def _load_network(folder: Path, name: str, tasks: tuple[Task, ...], facts: dict[str, Any]) -> TrainedNetwork:
    path = folder / facts["file"]
    if path.parent != folder or not path.is_file():
        raise BundleError(f"the bundle's file {path} is missing; copy the whole folder, or train again")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != facts["sha256"]:
        raise BundleError(
            f"{path} is not the file that was bundled (its sha256 differs); copy it again, or train again"
        )
    model = ModelConfig(**facts["model"])
    tells = facts.get("tells", [name])  # the first format had one network per task
    heads = facts.get("heads", [{}] * len(tells))
    named = {task.name: task for task in tasks}
    told = tuple(named[one] for one in tells)
    configs = tuple(_config(task, HeadConfig(**head), model) for task, head in zip(told, heads, strict=True))
    plan = Plan(name, told, configs, facts.get("joint", False))
    network = build_network(model, plan.heads.outputs, pretrained=False)
    try:
        network.load_state_dict(load(content))
    except (SafetensorError, RuntimeError) as error:
        raise BundleError(f"{path} does not fit {model.backbone}: {error}") from error
    normalise = Normalise(tuple(facts["mean"]), tuple(facts["std"]))
    return TrainedNetwork(name, plan, normalise, network.eval())


def _config(task: Task, head: HeadConfig, model: ModelConfig) -> TaskConfig:
    limits = (task.low, task.high) if task.edges else (0, 120)
    return TaskConfig(classes=task.classes, edges=task.edges, range=limits, head=head, model=model)


def trained_network(plan: Plan, name: str, network: nn.Module) -> TrainedNetwork:
    """A trained network with what it expects of its input."""
    return TrainedNetwork(name, plan, normalise_of(network), network)


def _describe(task: Task) -> dict[str, Any]:
    limits = [task.low, task.high] if task.edges else None
    return {"classes": list(task.classes), "edges": list(task.edges), "range": limits}


def _task(name: str, facts: dict[str, Any]) -> Task:
    if not facts["edges"]:
        return Task(name, tuple(facts["classes"]))
    low, high = facts["range"]
    return Task(name, tuple(facts["classes"]), tuple(facts["edges"]), low, high)
