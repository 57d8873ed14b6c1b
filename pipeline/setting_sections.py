"""The sections of the settings that belong to the pipeline: data, split, prediction, training's trackers, drawn masks.

The sections of detection and of the classifiers are in `detect.config` and `classify.config`. The classes here hold and
check values; they open no file.
"""

import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from cache.config import Config
from classify.config import Fabric, Precision, TaskConfig, TrainConfig, Wearing


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
    refit: bool = Field(
        default=False,
        description="With `held_out: all`: train one more network on all photos, which alone predicts new ones. Those "
        "that leave out folds only score, calibrate and choose factors, and are not in the bundle.",
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
        if self.refit and self.held_out != "all":
            raise ValueError("refit scores with the networks of all folds, so it needs held_out: all")
        if self.leave_out > max(self.folds - 2, 1):
            raise ValueError(
                f"leave_out is {self.leave_out}, but with {self.folds} folds it can be {max(self.folds - 2, 1)} at most"
            )
        return self

    @property
    def held_out_folds(self) -> list[tuple[int, ...]]:
        """The held-out folds of each network of a task; empty for one that is trained on all photos."""
        if self.held_out == "all":
            shifts = range(self.leave_out)
            folds = [tuple((first + shift) % self.folds for shift in shifts) for first in range(self.folds)]
            return [*folds, ()] if self.refit else folds
        return [() if self.held_out is None else (self.held_out,)]


class PredictConfig(Config):
    """How a trained network predicts."""

    flip: bool = Field(default=True, description="Average over each crop and its mirror image; doubles the time.")
    precision: Precision = Field(
        default="fp32",
        description="The number format of the networks on a CPU: bf16 is faster on processors that have it, with "
        "OpenVINO, and has no effect elsewhere. A GPU always uses the number format that is fastest there.",
    )
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
        if self.train.get("probe") is True:
            del tree["train"]["head_lr_scale"]  # so that it is the one for probes, unless this kind sets another
        return TaskConfig.model_validate(
            tree | {section: tree[section] | keys for section, keys in self.model_dump().items()}
        )
