"""All that prediction needs, in one folder.

bundle/bundle.json (tasks, crop spec, input sizes, mean and std, model names, metrics, sha256 of every weights file) and
one safetensors file per task <-> Bundle.

The crop's settings travel with the weights: a bundle can't be used on crops that its networks were not trained on.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from cache import atomic
from cache.errors import BundleError
from classify.config import ModelConfig
from classify.networks import Normalise, build_network, normalise_of
from classify.tasks import Task

FORMAT = 1


@dataclass(frozen=True, slots=True)
class TaskNetwork:
    """The trained network of one task with the way its input is made."""

    task: Task
    model: ModelConfig
    normalise: Normalise
    network: nn.Module


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a training leaves for prediction.

    Attributes:
        networks: one per task, in config order.
        crop: the settings that made the crops, as the detection room wrote them, with their fingerprint.
        metrics: validation scores, for people.
        most_frequent: the joint class that a submission gets for a photo that can't be read.
        flip: average over each crop and its mirror image.
    """

    networks: tuple[TaskNetwork, ...]
    crop: Mapping[str, Any]
    metrics: Mapping[str, Any]
    most_frequent: int
    flip: bool

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks in config order."""
        return tuple(one.task for one in self.networks)


def save_bundle(folder: Path, bundle: Bundle) -> None:
    """Write the bundle; bundle.json comes last, so that a folder without it is no bundle."""
    models: dict[str, Any] = {}
    for one in bundle.networks:
        content = save({name: value.contiguous() for name, value in one.network.state_dict().items()})
        file = f"{one.task.name}.safetensors"
        atomic.write_bytes(folder / file, content)
        models[one.task.name] = {
            "file": file,
            "sha256": hashlib.sha256(content).hexdigest(),
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
    }
    atomic.write_text(folder / "bundle.json", json.dumps(described, indent=1, allow_nan=False))


def load_bundle(folder: Path) -> Bundle:
    """Read and check a bundle.

    Raises:
        BundleError: no bundle is there, it is of a newer version, or a file is missing or changed.
    """
    described = _read_description(folder)
    try:
        tasks = [_task(name, facts) for name, facts in described["tasks"].items()]
        networks = tuple(_load_network(folder, task, described["models"][task.name]) for task in tasks)
        return Bundle(networks, described["crop"], described["metrics"], described["most_frequent"], described["flip"])
    except (KeyError, TypeError, ValidationError) as error:
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


def _load_network(folder: Path, task: Task, facts: dict[str, Any]) -> TaskNetwork:
    path = folder / facts["file"]
    if path.parent != folder or not path.is_file():
        raise BundleError(f"the bundle's file {path} is missing; copy the whole folder, or train again")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != facts["sha256"]:
        raise BundleError(
            f"{path} is not the file that was bundled (its sha256 differs); copy it again, or train again"
        )
    model = ModelConfig(**facts["model"])
    network = build_network(model, len(task.classes), pretrained=False)
    try:
        network.load_state_dict(load(content))
    except (SafetensorError, RuntimeError) as error:
        raise BundleError(f"{path} does not fit {model.backbone}: {error}") from error
    normalise = Normalise(tuple(facts["mean"]), tuple(facts["std"]))
    return TaskNetwork(task, model, normalise, network.eval())


def task_network(task: Task, model: ModelConfig, network: nn.Module) -> TaskNetwork:
    """A trained network with what it expects of its input."""
    return TaskNetwork(task, model, normalise_of(network), network)


def _describe(task: Task) -> dict[str, Any]:
    limits = [task.low, task.high] if task.edges else None
    return {"classes": list(task.classes), "edges": list(task.edges), "range": limits}


def _task(name: str, facts: dict[str, Any]) -> Task:
    if not facts["edges"]:
        return Task(name, tuple(facts["classes"]))
    low, high = facts["range"]
    return Task(name, tuple(facts["classes"]), tuple(facts["edges"]), low, high)
