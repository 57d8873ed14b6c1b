"""All settings of a run in one tree, read from YAML files and `--set` options.

In: YAML files, whose keys override the defaults, and `--set` options, which override both. Out: validated Settings.
RUN/config.yaml holds them all and can be passed as such a file itself.
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from cache.config import Config
from cache.errors import UsageError
from classify.config import Fabric, ModelConfig, TaskConfig, TrainConfig, Wearing
from classify.tasks import Task
from detect.config import CropConfig, DetectConfig
from pipeline.card_config import CardConfig
from pipeline.setting_layers import COMMON_SECTIONS, Key, Layer, describe_errors, merge, read_file, read_option
from pipeline.task_names import refuse_unusable_names

COMPETITION_TASKS: dict[str, dict[str, Any]] = {
    "mask": {"classes": ["wear", "incorrect", "normal"]},
    "gender": {"classes": ["male", "female"]},
    "age": {"classes": ["<30", "30-59", ">=60"], "edges": [30, 60], "range": [0, 120]},
}


class DataConfig(Config):
    """How labels are read from tables, and which photos are read."""

    columns: dict[str, str] = Field(
        default={}, description="Names of table columns, where they are not path, person, split and the tasks' names."
    )
    images: str | None = Field(
        default=None,
        description="Folder that a table's paths start from, relative to the table; by default the table's own. It may "
        "be anywhere.",
    )
    boxes: Literal["auto", "given", "ignored"] = Field(
        default="auto",
        description="Whether a table's columns x1, y1, x2, y2 are read, so that each row is a face: auto reads them if "
        "a photo has several rows.",
    )
    follow_links: bool = Field(
        default=False,
        description="Open links that lead out of the data folder, as in a data set that links into a blob store.",
    )
    corrections: tuple[str, ...] = Field(
        default=(),
        description="Tables of corrected labels, applied in this order without changing any file; `boostcamp` is the "
        "built-in table for the competition's data.",
    )
    max_megapixels: float = Field(
        default=100.0,
        gt=0,
        le=10_000,
        description="Photos with more megapixels are not read; one of 108 takes 4 GB of memory.",
    )
    correction_levels: tuple[Literal["core", "extended", "contested"], ...] = Field(
        default=("core",), description="Levels of the corrections that are applied; a row without a level is core."
    )


class SplitConfig(Config):
    """Which photos are held out of training, to select the best weights and to score them."""

    folds: int = Field(
        default=5, ge=2, le=100, description="Number of folds; all photos of a person are in the same one."
    )
    held_out: int | Literal["all"] | None = Field(
        default=0,
        description="The fold to validate on. all trains one network per held-out fold, and their probabilities are "
        "averaged; null trains on all photos, without validation scores.",
    )
    leave_out: int = Field(
        default=1,
        ge=1,
        lt=100,
        description="With `held_out: all`, number of consecutive folds that each network leaves out, at most "
        "folds - 2. With 2 or more, each person is predicted by as many networks that have not seen them, and the "
        "temperature of the mean of all networks is derived from that. With 1, 70% of a single network's temperature "
        "is assumed to remain in the mean of any number of them.",
    )
    repeats: int = Field(
        default=1, ge=1, le=100, description="Networks that differ only in the seed; probabilities are averaged."
    )
    seed: int | None = Field(
        default=None, ge=0, lt=2**31, description="Of the folds only; null uses the top-level one."
    )
    folds_file: Path | None = Field(
        default=None,
        description="A table with the columns path and fold, such as a run's folds.csv: the folds to use instead of "
        "dealing the people into new ones.",
    )

    @model_validator(mode="after")
    def _fold_exists(self) -> Self:
        if isinstance(self.held_out, int) and not 0 <= self.held_out < self.folds:
            raise ValueError(f"held_out must be one of the folds 0 to {self.folds - 1}")
        if self.leave_out > 1 and self.held_out != "all":
            raise ValueError("leave_out above 1 needs held_out: all (--set split.held_out=all)")
        if self.leave_out > max(self.folds - 2, 1):
            raise ValueError(
                f"leave_out is {self.leave_out}, but with {self.folds} folds it can be {max(self.folds - 2, 1)} at most"
            )
        return self

    @property
    def held_out_folds(self) -> list[tuple[int, ...]]:
        """The held-out folds of each network of a task; empty if it is trained on all photos."""
        if self.held_out == "all":
            shifts = range(self.leave_out)
            return [tuple((first + shift) % self.folds for shift in shifts) for first in range(self.folds)]
        return [() if self.held_out is None else (self.held_out,)]


class PredictConfig(Config):
    """How a trained network predicts."""

    flip: bool = Field(default=True, description="Average over each crop and its mirror image; doubles the time.")
    calibrate: bool = Field(
        default=True, description="Calibrate probabilities with a temperature per task, fitted to the held-out photos."
    )
    decide: Literal["probable", "f1", "f1_per_task"] = Field(
        default="probable",
        description="How the predicted class is chosen: the most probable one; or the most probable one after each "
        "class's probability is multiplied by a factor fitted to the held-out photos, f1 for the best macro-F1 of the "
        "joint class, f1_per_task for the best of each task.",
    )
    unsure: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Above 0, predictions.csv gets a column that names the tasks whose answer is less probable.",
    )


class RunTrainConfig(TrainConfig):
    """How networks are trained. `trackers` belongs to the run; each other key can differ from task to task."""

    trackers: tuple[Literal["wandb", "tensorboard", "mlflow"], ...] = Field(
        default=(),
        description="What else records settings, curves, pictures, scores and the bundle: Weights & Biases (offline "
        "without a key), TensorBoard (RUN/tensorboard), MLflow (mlflow.db beside RUN unless MLFLOW_TRACKING_URI is "
        "set). Each needs the extra of its name. No result depends on it: a run can be continued with others.",
    )


NETWORK_NAME = re.compile(r"[\w-]+")
RUN_KEYS = RunTrainConfig.model_fields.keys() - TrainConfig.model_fields.keys()  # of `train`, and of no task


class MaskConfig(Config):
    """How masks are drawn on maskless faces and change their label. How often: `augment.masks` of each task."""

    task: str = Field(default="mask", description="The task whose label a drawn mask changes.")
    bare: str = Field(default="normal", description="Its class without a mask; masks are drawn on these faces only.")
    right: str = Field(default="wear", description="Its class for a mask over mouth and nose.")
    nose_out: str = Field(default="incorrect", description="Its class for a mask below the nose.")
    under_chin: str = Field(default="incorrect", description="Its class for a mask below the mouth.")
    fabrics: dict[Fabric, float] = Field(
        default={},
        description="Relative frequency of each fabric: kf94, surgical, thin, cloth, patterned, scarf. One that is "
        "left out is not drawn; if empty, all are drawn, masks more often than scarves.",
    )
    wearings: dict[Wearing, float] = Field(
        default={},
        description="Relative frequency of each way to wear it: right, nose_out, under_chin. One that is left out is "
        "not drawn, except that scarves meant to be under_chin are worn right; if empty, half are worn right.",
    )

    @field_validator("fabrics", "wearings")
    @classmethod
    def _weights_make_sense(cls, weights: dict[str, float]) -> dict[str, float]:
        if weights and (min(weights.values()) < 0 or not max(weights.values())):
            raise ValueError("weights must not be negative, and at least one must be above 0")
        return weights


class EnsembleMember(Config):
    """What one kind of network in an ensemble has other than the rest. Each key wins over that of a task."""

    model: dict[str, Any] = Field(default={}, description="Keys of `model`, such as another backbone and its input.")
    train: dict[str, Any] = Field(default={}, description="Keys of `train`, except `trackers`.")
    augment: dict[str, Any] = Field(default={}, description="Keys of `tasks.NAME.augment`, for all tasks.")

    def applied_to(self, config: TaskConfig) -> TaskConfig:
        """Return a task's settings with these keys in them.

        Raises:
            ValidationError: a key does not exist, or its value contradicts others.
        """
        tree = config.model_dump()
        return TaskConfig.model_validate(
            tree | {section: tree[section] | keys for section, keys in self.model_dump().items()}
        )


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
        if self.split.held_out is None or not any(train.keep == "best" and train.epochs > 1 for train in trains):
            return ""
        return (
            "the epoch that is kept was chosen on these people (train.keep=best), so the scores are somewhat too good "
            "for new people; with train.keep=last, nothing is chosen on them"
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
