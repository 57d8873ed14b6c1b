"""Settings of the classifiers: tasks, networks, training and augmentation.

The classes here only hold and check values; they open no file and touch no device.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from cache.config import Config
from classify.augment_config import AugmentConfig, Share
from classify.model_config import ModelConfig, ShareBelowOne
from classify.tasks import Task, comparable

Fabric = Literal["kf94", "surgical", "thin", "cloth", "patterned", "scarf"]
Precision = Literal["fp32", "bf16"]
Wearing = Literal["right", "nose_out", "under_chin"]
Factor = Annotated[float, Field(ge=0, le=100)]


class TrainConfig(Config):
    """How one network is trained. `train` sets it for all tasks, `tasks.NAME.train` for one."""

    epochs: int = Field(default=4, ge=1, le=10_000, description="Passes over the training samples.")
    batch: int = Field(default=64, ge=1, le=65_536, description="Samples per step.")
    loss: Literal["ce", "focal", "f1", "f1_ce", "label_smoothing"] = Field(
        default="ce",
        description="Loss of heads with one output per class (through `head.bins_loss`, also of years): cross-entropy, "
        "focal (see gamma), soft macro-F1, both soft macro-F1 and cross-entropy, or cross-entropy with smoothed "
        "labels.",
    )
    gamma: float = Field(default=2.0, ge=0, le=10, description="Exponent of the focal loss; 0 is cross-entropy.")
    smoothing: ShareBelowOne = Field(default=0.1, description="With label_smoothing: share given to the other classes.")
    optimiser: str = Field(default="adamw", description="Any of timm's optimisers; see timm.optim.list_optimizers().")
    lr: float = Field(default=5e-4, gt=0, le=10, description="Peak learning rate of the backbone.")
    head_lr_scale: float = Field(
        default=4.0,
        gt=0,
        le=1000,
        description="Learning rate of the last layer, in multiples of `lr`; with probe, 1 unless it is set.",
    )
    weight_decay: Share = Field(
        default=0.02,
        description="Weight decay; biases, norm layers and what timm excludes, such as position embeddings, have none.",
    )
    schedule: Literal["cosine", "step", "constant"] = Field(
        default="cosine",
        description="Shape of the learning rate after the warm-up; cosine ends at a thousandth of `lr`.",
    )
    warmup: ShareBelowOne = Field(
        default=0.2, description="Share of all steps over which the learning rate first rises linearly."
    )
    step_epochs: int = Field(default=20, ge=1, description="With schedule step: epochs between decays.")
    step_decay: float = Field(default=0.5, gt=0, le=1, description="With schedule step: factor of each decay.")
    clip_norm: float = Field(default=0.0, ge=0, description="Largest norm of the gradients; 0 turns clipping off.")
    ema: ShareBelowOne = Field(
        default=0.0,
        description="Decay of the moving average of the weights that is kept; 0 turns it off. After n steps it is at "
        "most 1 - n^(-2/3): 0.98 after 350, 0.981 after 391, 0.99 after 1,000 and 0.999 after 31,600.",
    )
    cutmix: Share = Field(default=0.0, description="Share of batches in which half of each face is another sample's.")
    cutmix_with: str = Field(
        default="",
        description="Class that the other halves come from, in batches that have samples of it; by default any.",
    )
    mixup: Share = Field(default=0.0, description="Share of batches in which faces are blended with other samples'.")
    sampling: Literal["all", "class", "joint"] = Field(
        default="all",
        description="all uses each sample as often as its multiplier says; class and joint draw as many at random, "
        "with all classes, or all joint classes, equally frequent.",
    )
    keep: Literal["best", "best_loss", "last"] = Field(
        default="best",
        description="Epoch whose weights are kept: best is the one with the best mean macro-F1 of the network's tasks "
        "on the held-out photos, best_loss the one with the lowest mean log loss there, which few photos decide more "
        "reliably, and last the last.",
    )
    soup: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description="Number of last epochs whose weights (ema: moving averages) are averaged; needs `keep: last`.",
    )
    consistency: Factor = Field(
        default=0.0,
        description="Weight of a loss on differing predictions for two photos of one person with the same label, in "
        "batches of such pairs. It leaves out mixed images and the label that a drawn mask changes.",
    )
    distill: Share = Field(
        default=0.5, description="With `faceline distill`: the teacher's share; the labels have the rest."
    )
    freeze: bool = Field(
        default=False,
        description="Leave the backbone as it is, and fit the last layer on its features, at the optimum and without "
        "steps: epochs, batch, optimiser, learning rate, ema, soup, keep and what else concerns steps do nothing. How "
        "strongly large weights are penalised is chosen for each task on people that a fit has not seen.",
    )
    views: int = Field(
        default=4,
        ge=1,
        le=1000,
        description="With freeze: versions of each photo that the last layer is fitted on. 1 is the photo, 2 adds its "
        "mirror image, and more add augmented versions. Time and memory grow with them.",
    )
    probe: bool = Field(
        default=False,
        description="Before the training, fit the last layer as freeze does, on each photo and its mirror image. Steps "
        "from a random last layer would pull the backbone's features towards it.",
    )
    compile: bool = Field(
        default=False,
        description="Train with torch.compile. It needs a C++ compiler and a minute before the first step of each "
        "network, and was slower overall on a CPU.",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="Number format of training. auto is bf16 on a GPU that supports it, fp16 on other "
        "GPUs, and fp32 on a CPU; validation and prediction always use that.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fitted_layer_learns_slowly(cls, values: Any) -> Any:
        """A last layer that has been fitted needs no larger steps than the backbone."""
        if isinstance(values, dict) and values.get("probe") is True and "head_lr_scale" not in values:
            return {**values, "head_lr_scale": 1.0}
        return values

    @property
    def passes(self) -> int:
        """How often metrics are computed: after every epoch, or once after a fit without steps."""
        return 1 if self.freeze else self.epochs

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        """Refuse settings of training that contradict each other."""
        if self.freeze and self.probe:
            raise ValueError("freeze fits the last layer and trains nothing else, so probe adds nothing; set one")
        if self.freeze and (self.cutmix or self.mixup or self.consistency):
            raise ValueError("cutmix, mixup and consistency belong to steps, which freeze does not make; set them to 0")
        if self.soup and self.keep != "last":
            raise ValueError("soup averages the last epochs, so it needs keep: last (--set train.keep=last)")
        if self.soup > self.epochs:
            raise ValueError(f"soup is {self.soup}, but there are only {self.epochs} epochs")
        if self.cutmix + self.mixup > 1:
            raise ValueError("cutmix and mixup are shares of the batches, but add up to more than 1")
        if self.consistency and self.batch % 2:
            raise ValueError(f"consistency trains on pairs of photos, so batch must be even (it is {self.batch})")
        return self


class HeadConfig(Config):
    """What the network's outputs for a task mean, and how labels become training targets."""

    kind: Literal["classes", "years", "ordinal", "coral"] = Field(
        default="classes",
        description="classes: one output per class. For numeric labels also years: one per whole number in `range`, "
        "summed to classes; ordinal (CORN) and coral: one per edge, for labels that reach it, trained on the samples "
        "that reach the edge before it (ordinal) or on all (coral).",
    )
    spread: Factor = Field(
        default=0.0,
        description="For numeric labels: standard deviation, in the label's unit, of the normal distribution that "
        "spreads a label over the years, or over the classes beside an edge. 0 for none; years needs more.",
    )
    top: Literal["auto"] | int | None = Field(
        default="auto",
        validate_default=True,
        description="Where an open end begins: with years, numbers from here on share one output; with a spread over "
        "classes, they are certain of the last. auto: at the labels' largest number, if no other is in the last class "
        "(a table that has 60 for 60 and over); null: nowhere.",
    )
    bins_loss: Factor = Field(default=0.0, description="With years: weight of `train.loss` on the summed classes.")
    number_loss: Factor = Field(
        default=0.0, description="With years: weight of the expected number's distance from the label."
    )
    weights: dict[str, float] = Field(
        default={}, description="Weight of each class's samples in the loss; 1 for classes left out."
    )
    weight: Factor = Field(default=1.0, description="Weight of this task's loss in a network with several tasks.")

    @field_validator("top")
    @classmethod
    def _top_has_an_effect(cls, top: str | int | None, info: ValidationInfo) -> str | int | None:
        """Refuse a number where labels are not spread; there, auto is null, as it was in earlier versions."""
        if info.data.get("kind") == "years" or info.data.get("spread"):
            return top
        if isinstance(top, int):
            raise ValueError("it belongs to head.kind years and to classes with a head.spread")
        return None

    @property
    def open_end(self) -> int | None:
        """The number from which on labels are an open end; None too while `top` is auto and the data not known."""
        return None if self.top == "auto" else self.top


class TaskConfig(Config):
    """One task, its classes, and its differences from the common settings."""

    classes: tuple[str, ...] = Field(min_length=2, description="Class names in order.")
    edges: tuple[float, ...] = Field(
        default=(), description="For numeric labels: where the next class begins; one fewer than classes."
    )
    range: tuple[float, float] = Field(
        default=(0, 120), description="For numeric labels: the smallest and largest valid number."
    )
    drop: tuple[tuple[float, float], ...] = Field(
        default=(),
        description="For numeric labels: ranges, both ends included, left out of training but not of validation.",
    )
    head: HeadConfig = Field(default=HeadConfig(), description="What the network's outputs mean.")
    model: ModelConfig = Field(default=ModelConfig(), description="This task's values of `model`.")
    train: TrainConfig = Field(default=TrainConfig(), description="This task's values of `train`.")
    augment: AugmentConfig = Field(default=AugmentConfig(), description="Augmentation of its samples.")

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        """Refuse settings of a task that contradict each other."""
        if self.edges and (len(self.edges) != len(self.classes) - 1 or list(self.edges) != sorted(set(self.edges))):
            raise ValueError(f"edges must be {len(self.classes) - 1} rising numbers for {len(self.classes)} classes")
        if self.drop and not self.edges:
            raise ValueError("drop names ranges of a numeric label, but this task has no edges")
        if len({comparable(name) for name in self.classes}) != len(self.classes):
            raise ValueError("two classes have the same name")
        for setting, names in (("augment.classes", self.augment.classes), ("head.weights", self.head.weights)):
            for name in names:
                if name not in self.classes:
                    raise ValueError(f"{setting} names {name!r}, which is none of {', '.join(self.classes)}")
        self._head_fits()
        if self.augment.masks and self.train.freeze and self.train.views <= 2:
            raise ValueError(
                "augment.masks draws on augmented photos, and with train.freeze, the first two views of each are not "
                "augmented; set train.views to 3 or more, or augment.masks to 0"
            )
        return self

    def _head_fits(self) -> None:
        """Refuse a head that does not fit the labels, and settings that its kind does not use."""
        head = self.head
        if not self.edges and (head.kind != "classes" or head.spread):
            raise ValueError("head: years, ordinal, coral and spread need a numeric label, but this task has no edges")
        if head.spread and head.kind in {"ordinal", "coral"}:
            raise ValueError(f"head.spread does not apply to head.kind {head.kind}; it belongs to years and classes")
        if any(not 0 <= weight < 1e6 for weight in head.weights.values()):
            raise ValueError("head.weights must not be negative")
        if head.kind == "years":
            if not head.spread:
                raise ValueError("head.kind years needs a spread above 0")
            if any(value != int(value) for value in (*self.range, *self.edges)) or self.range[1] - self.range[0] > 1000:
                raise ValueError("head.kind years needs whole numbers in range and edges, and at most 1,000 of them")
            if not (self.range[0] < self.edges[0] and self.edges[-1] <= self.range[1]):
                raise ValueError("head.kind years needs edges within range, so that each class has a year")
        elif head.bins_loss or head.number_loss:
            raise ValueError("head.bins_loss and head.number_loss belong to head.kind years")
        if head.open_end is not None and not self.edges[-1] <= head.open_end <= self.range[1]:
            raise ValueError(f"head.top must be between the last edge, {self.edges[-1]:g}, and {self.range[1]:g}")

    def task(self, name: str) -> Task:
        """Return the task that these settings describe."""
        low, high = self.range if self.edges else (float("-inf"), float("inf"))
        return Task(name, self.classes, self.edges, low, high)
