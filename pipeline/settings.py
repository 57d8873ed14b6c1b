"""All settings of a run in one tree, read from YAML files and `--set` options.

In: YAML files, whose keys override the defaults, and `--set` options, which override both. Out: validated Settings.
RUN/config.yaml holds them all and can be passed as such a file itself.
"""

import difflib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Self, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from cache.config import Config
from cache.errors import UsageError
from classify.config import ModelConfig, TaskConfig
from classify.tasks import Task
from detect.config import CropConfig, DetectConfig
from pipeline.card_config import CardConfig
from pipeline.setting_layers import COMMON_SECTIONS, Key, Layer, describe_errors, merge, read_file, read_option
from pipeline.setting_sections import (
    NETWORK_NAME,
    RUN_KEYS,
    DataConfig,
    EnsembleMember,
    MaskConfig,
    PredictConfig,
    RunTrainConfig,
    SplitConfig,
)
from pipeline.task_names import refuse_unusable_names

COMPETITION_TASKS: dict[str, dict[str, Any]] = {
    "mask": {"classes": ["wear", "incorrect", "normal"]},
    "gender": {"classes": ["male", "female"]},
    "age": {"classes": ["<30", "30-59", ">=60"], "edges": [30, 60], "range": [0, 120]},
}


class Settings(Config):
    """Settings that apply to all tasks."""

    seed: int = Field(
        default=0, ge=0, lt=2**31, description="Seed of the folds, initial weights, sample order and augmentation."
    )
    data: DataConfig = Field(default=DataConfig(), description="How labels are read from tables.")
    detect: DetectConfig = Field(default=DetectConfig(), description="How the subject's face is detected.")
    crop: CropConfig = Field(default=CropConfig(), description="How the face is cropped.")
    tasks: dict[str, TaskConfig] = Field(
        min_length=1, description="What is predicted for a face. Set a task to null to remove it."
    )
    model: ModelConfig = Field(default=ModelConfig(), description="The network; a task can override each key.")
    train: RunTrainConfig = Field(default=RunTrainConfig(), description="Training; a task can override each key.")
    ensemble: dict[str, EnsembleMember] = Field(
        default={},
        description="Kinds of networks that vote: a name for each, and how it differs. Every kind is trained on every "
        "held-out fold, and the probabilities of all are averaged. With none, there is one kind. Set a kind to null to "
        "remove it.",
    )
    masks: MaskConfig = Field(default=MaskConfig(), description="Masks drawn on maskless faces.")
    split: SplitConfig = Field(default=SplitConfig(), description="Which photos are held out.")
    predict: PredictConfig = Field(default=PredictConfig(), description="How a trained network predicts.")
    card: CardConfig = Field(default=CardConfig(), description="What the bundle's model card says besides figures.")

    @field_validator("tasks")
    @classmethod
    def _names_are_usable(cls, tasks: dict[str, TaskConfig]) -> dict[str, TaskConfig]:
        refuse_unusable_names({name: task.classes for name, task in tasks.items()})
        return tasks

    @model_validator(mode="after")
    def _factors_can_be_fitted(self) -> Self:
        if self.predict.decide != "probable" and self.split.held_out is None:
            raise ValueError(
                f"predict.decide={self.predict.decide} is fitted to held-out photos, but split.held_out is null"
            )
        return self

    @model_validator(mode="after")
    def _ensemble_is_usable(self) -> Self:
        for name in self.ensemble:
            if not NETWORK_NAME.fullmatch(name):
                raise ValueError(f"ensemble: {name!r} is no name of a file; use letters, digits, - and _")
        try:
            self.task_configs  # noqa: B018
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"ensemble: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        return self

    @property
    def task_configs(self) -> dict[str, dict[str, TaskConfig]]:
        """The settings of each task, for each kind of network in the ensemble; the name is empty if there is one."""
        if not self.ensemble:
            return {"": self.tasks}
        return {
            kind: {name: member.applied_to(config) for name, config in self.tasks.items()}
            for kind, member in self.ensemble.items()
        }

    def task_list(self) -> list[Task]:
        """The tasks in config order."""
        return [config.task(name) for name, config in self.tasks.items()]

    @property
    def held_out_note(self) -> str:
        """What to know about scores on the held-out people; empty if nothing was chosen on them."""
        trains = [config.train for configs in self.task_configs.values() for config in configs.values()]
        chosen = [train.keep for train in trains if train.keep != "last" and train.passes > 1]
        if self.split.held_out is None or not chosen:
            return ""
        keep = "best" if "best" in chosen else chosen[0]
        return (
            f"the epoch that is kept was chosen on these people (train.keep={keep}), so the scores are somewhat too "
            "good for new people; with train.keep=last, nothing is chosen on them"
        )

    def as_yaml(self) -> str:
        """Format the resolved settings as RUN/config.yaml has them."""
        tree = self.model_dump(mode="json")
        # The file is read on top of the defaults, so a removed default task must be in it, as null.
        tree["tasks"] = {name: None for name in COMPETITION_TASKS if name not in self.tasks} | tree["tasks"]
        return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def load_settings(files: Path | Sequence[Path] | None = None, overrides: Sequence[str] = ()) -> Settings:
    """Read settings.

    Args:
        files: YAML, laid over each other in their order; keys that they leave out keep their default.
        overrides: "key=value" with a dotted key and a YAML value; they win over the files.

    Raises:
        UsageError: a file is missing or not YAML, a key does not exist, or a value is out of range; the message names
            the file or option that has set the key.
    """
    layers = _layers(files, overrides)
    tree = merge([Layer("the settings", {"tasks": COMPETITION_TASKS}), *layers])
    try:
        return Settings.model_validate(_with_common_sections(tree))
    except ValidationError as error:
        raise UsageError(describe_errors(error, tree, layers, _similar_key)) from None


def given_settings(files: Path | Sequence[Path] | None = None, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The tree of what files and `--set` options set, without defaults; arguments and errors as in `load_settings`."""
    return merge(_layers(files, overrides))


def _layers(files: Path | Sequence[Path] | None, overrides: Sequence[str]) -> list[Layer]:
    files = () if files is None else [files] if isinstance(files, Path) else files
    return [*map(read_file, files), *map(read_option, overrides)]


def _with_common_sections(tree: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is null of tasks and ensemble, and give each task the keys of common sections that it lacks."""
    if isinstance(kinds := tree.get("ensemble"), dict):
        tree = {**tree, "ensemble": {name: kind for name, kind in kinds.items() if kind is not None}}
    if not isinstance(tasks := tree.get("tasks"), dict):
        return tree
    return {**tree, "tasks": {name: _with_common(tree, task) for name, task in tasks.items() if task is not None}}


def _with_common(tree: dict[str, Any], task: Any) -> Any:
    if not isinstance(task, dict):
        return task
    merged = dict(task)
    for section in COMMON_SECTIONS:
        common, task_section = tree.get(section, {}), task.get(section, {})
        if isinstance(common, dict) and isinstance(task_section, dict):
            merged[section] = {key: common[key] for key in common if key not in RUN_KEYS} | task_section
    return merged


def _similar_key(key: Key) -> str:
    """The setting that an unknown key may mean, with its section where that is another one; "" if none is similar."""
    *section, name = map(str, key)
    sections: dict[str, list[str]] = {}  # of each key name, the sections that have it
    for prefix, known in _keys(Settings):
        sections.setdefault(known, []).append(prefix)
    for similar in difflib.get_close_matches(name, sections, n=1):
        if any(fnmatch(".".join(section), prefix.replace("NAME", "*")) for prefix in sections[similar]):
            return similar
        return f"{min(sections[similar], key=len)}.{similar}".lstrip(".")
    return ""


def _keys(model: type[BaseModel], section: str = "") -> Iterator[tuple[str, str]]:
    """Yield the section and name of every setting."""
    for name, field in model.model_fields.items():
        yield section, name
        below = f"{section}.{name}".lstrip(".")
        for number, part in enumerate((field.annotation, *get_args(field.annotation))):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from _keys(part, f"{below}.NAME" if number else below)
