"""All settings of a run in one tree, read from a YAML file and `--set` options.

defaults <- FILE <- --set key=value -> Settings, checked. RUN/config.yaml holds the outcome, and is such a FILE itself.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from cache.config import Config
from cache.errors import UsageError
from classify.config import Fabric, ModelConfig, TaskConfig, TrainConfig, Wearing
from classify.tasks import Task
from detect.config import CropConfig, DetectConfig

COMPETITION_TASKS: dict[str, dict[str, Any]] = {
    "mask": {"classes": ["wear", "incorrect", "normal"]},
    "gender": {"classes": ["male", "female"]},
    "age": {"classes": ["<30", "30-59", ">=60"], "edges": [30, 60], "range": [0, 120]},
}
# What a task takes from the common section of the same name, key by key, when it does not set the key itself.
COMMON_SECTIONS = ("model", "train")


class DataConfig(Config):
    """Where a table keeps what."""

    columns: dict[str, str] = Field(
        default={}, description="Table columns by what they hold: path, person, or a task's name; else their own name."
    )
    corrections: tuple[str, ...] = Field(
        default=(),
        description="Tables of corrected labels, applied in memory in this order; `boostcamp` is the competition's "
        "known mistakes.",
    )
    correction_levels: tuple[Literal["core", "extended", "contested"], ...] = Field(
        default=("core",), description="Which corrections count; a row without a level is core."
    )


class SplitConfig(Config):
    """Which photos are held out of training to choose and score the weights."""

    folds: int = Field(default=5, ge=2, le=100, description="Folds that the people are dealt into.")
    held_out: int | Literal["all"] | None = Field(
        default=0,
        description="The fold that is validated on; all trains a network per fold, on the others, and all vote; "
        "null trains on all photos, with no score of its own.",
    )
    repeats: int = Field(
        default=1, ge=1, le=100, description="Networks that are trained alike, but for the seed; they vote."
    )
    seed: int | None = Field(
        default=None, ge=0, lt=2**31, description="Of the folds alone; null takes the top level's seed."
    )

    @model_validator(mode="after")
    def _fold_exists(self) -> Self:
        if isinstance(self.held_out, int) and not 0 <= self.held_out < self.folds:
            raise ValueError(f"held_out must be one of the folds 0 to {self.folds - 1}")
        return self

    @property
    def held_out_folds(self) -> list[int | None]:
        """The fold that each network of a task is not trained on."""
        return [*range(self.folds)] if self.held_out == "all" else [self.held_out]


class PredictConfig(Config):
    """How probabilities are made of a trained network."""

    flip: bool = Field(default=True, description="Average over each crop and its mirror image; takes twice as long.")
    calibrate: bool = Field(
        default=True, description="Fit a temperature per task to the held-out photos, so that probabilities are honest."
    )
    decide: Literal["probable", "f1"] = Field(
        default="probable",
        description="The answer is the most probable class, or that after factors, fitted to the held-out photos "
        "for the best macro-F1.",
    )
    unsure: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Above 0, predictions.csv has a column that names the tasks whose answer is less probable.",
    )


class MaskConfig(Config):
    """What a drawn mask makes of a face's labels. How many are drawn: `augment.masks` of every task."""

    task: str = Field(default="mask", description="The task whose label changes.")
    bare: str = Field(default="normal", description="Its class without a mask: only these faces get one.")
    right: str = Field(default="wear", description="Its class with a mask over mouth and nose.")
    nose_out: str = Field(default="incorrect", description="Its class with a mask below the nose.")
    under_chin: str = Field(default="incorrect", description="Its class with a mask below the mouth.")
    fabrics: dict[Fabric, float] = Field(
        default={},
        description="Weight of each fabric: kf94, surgical, thin, cloth, patterned, scarf. Those left out are not "
        "drawn; without any, all are, masks more often than scarves.",
    )

    wearings: dict[Wearing, float] = Field(
        default={},
        description="Weight of each way to wear it: right, nose_out, under_chin. Those left out are not drawn, "
        "but that a scarf under the chin is worn right; without any, half are worn right.",
    )

    @field_validator("fabrics", "wearings")
    @classmethod
    def _weights_make_sense(cls, weights: dict[str, float]) -> dict[str, float]:
        if weights and (min(weights.values()) < 0 or not max(weights.values())):
            raise ValueError("weights must not be negative, and one above 0")
        return weights


class Settings(Config):
    """The whole tree."""

    seed: int = Field(
        default=0, ge=0, lt=2**31, description="Of the folds, the first weights, the sample order and the augmentation."
    )
    data: DataConfig = Field(default=DataConfig(), description="Where a table keeps what.")
    detect: DetectConfig = Field(default=DetectConfig(), description="How the subject's face is found.")
    crop: CropConfig = Field(default=CropConfig(), description="What is kept around the face.")
    tasks: dict[str, TaskConfig] = Field(
        min_length=1, description="What is told from a face. Set one to null to drop it."
    )
    model: ModelConfig = Field(default=ModelConfig(), description="The network, for every task that sets no other.")
    train: TrainConfig = Field(default=TrainConfig(), description="Training, for every task that sets no other.")
    masks: MaskConfig = Field(default=MaskConfig(), description="What drawn masks change.")
    split: SplitConfig = Field(default=SplitConfig(), description="Folds of people.")
    predict: PredictConfig = Field(default=PredictConfig(), description="Prediction.")

    @model_validator(mode="after")
    def _answers_can_be_fitted(self) -> Self:
        if self.predict.decide == "f1" and self.split.held_out is None:
            raise ValueError(
                "predict.decide=f1 is fitted to held-out photos, and split.held_out is null: hold some out"
            )
        return self

    def task_list(self) -> list[Task]:
        """The tasks in config order."""
        return [config.task(name) for name, config in self.tasks.items()]

    def as_yaml(self) -> str:
        """The resolved settings as RUN/config.yaml has them."""
        tree = self.model_dump(mode="json")
        # A dropped task is written down as such: read again, the file is laid over the defaults.
        tree["tasks"] = {name: None for name in COMPETITION_TASKS if name not in self.tasks} | tree["tasks"]
        return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def load_settings(file: Path | None = None, overrides: Sequence[str] = ()) -> Settings:
    """Read settings.

    Args:
        file: YAML; keys that it leaves out have their default.
        overrides: "key=value" with a dotted key and a YAML value; they win over the file.

    Raises:
        UsageError: the file is missing or no YAML, a key does not exist, or a value is out of range.
    """
    tree: dict[str, Any] = {"tasks": {name: dict(task) for name, task in COMPETITION_TASKS.items()}}
    where = "the settings"
    if file is not None:
        where = str(file)
        tree = _merged(tree, _read_yaml(file))
    for override in overrides:
        _apply(tree, override)
    return _checked(tree, where)


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UsageError(f"--config: there is no file {file}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"--config: {file} is not readable YAML: {error}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UsageError(f"--config: {file} must hold keys and values, as in 'seed: 1'")
    return tree


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    steps = key.strip().split(".")
    if not equals or not all(steps):
        raise UsageError(f"--set {override}: write it as key=value, for example --set train.epochs=5")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UsageError(f"--set {override}: {text!r} is not a YAML value; put quotes around it") from None
    if steps[0] in COMMON_SECTIONS and isinstance(tree.get("tasks"), dict):
        # The option wins over the file, also where the file sets the key for one task.
        for task in tree["tasks"].values():
            if isinstance(task, dict) and isinstance(task.get(steps[0]), dict):
                task[steps[0]] = {k: v for k, v in task[steps[0]].items() if len(steps) > 1 and k != steps[1]}
    branch = tree
    for step in steps[:-1]:
        below = branch.get(step)
        branch[step] = dict(below) if isinstance(below, Mapping) else {}
        branch = branch[step]
    branch[steps[-1]] = value


def _checked(tree: dict[str, Any], where: str) -> Settings:
    tasks = tree.get("tasks")
    if isinstance(tasks, dict):
        tree = {**tree, "tasks": {name: _with_common(tree, task) for name, task in tasks.items() if task is not None}}
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        lines = [_sentence(problem, tree) for problem in error.errors()]
        raise UsageError(f"{where}: " + "\n".join(dict.fromkeys(lines))) from None


def _with_common(tree: dict[str, Any], task: Any) -> Any:
    if not isinstance(task, dict):
        return task
    merged = dict(task)
    for section in COMMON_SECTIONS:
        common, own = tree.get(section, {}), task.get(section, {})
        if isinstance(common, dict) and isinstance(own, dict):
            merged[section] = {**common, **own}
    return merged


def _sentence(problem: Any, tree: dict[str, Any]) -> str:
    key = ".".join(str(step) for step in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(problem["loc"][-1]), _known_keys(), n=1)
        return f"{key}: there is no such setting" + (f"; did you mean {near[0]}?" if near else "")
    message = problem["msg"].removeprefix("Value error, ")
    if isinstance(problem["input"], bool) and "string" in message:
        message += " (YAML reads yes, no, on and off as true and false: put quotes around them)"
    if isinstance(problem["input"], dict):
        return f"{key}: {message}"
    return f"{key}: {message} (it is {problem['input']!r})"


def _known_keys() -> list[str]:
    classes = (Settings, DataConfig, SplitConfig, PredictConfig, DetectConfig, CropConfig, TaskConfig, ModelConfig)
    return sorted({name for kind in (*classes, TrainConfig) for name in kind.model_fields})
