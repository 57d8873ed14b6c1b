"""Settings of the classifiers: what is asked, which network answers, how it learns.

Every class here only holds and checks values; it opens no file and touches no device.
"""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from cache.config import Config
from classify.tasks import Task

Fabric = Literal["kf94", "surgical", "thin", "cloth", "patterned", "scarf"]
Wearing = Literal["right", "nose_out", "under_chin"]
Transform = dict[str, dict[str, Any]]  # one albumentations transform: {name: {argument: value}}


class ModelConfig(Config):
    """The network of one task. `model` sets it for all tasks, `tasks.NAME.model` for one."""

    sharing: Literal["separate", "shared", "joint"] = Field(
        default="separate",
        description="One network per task; one with a head per task; or one over the joint classes.",
    )
    backbone: str = Field(default="tf_efficientnet_lite0", description="Any timm model name; see timm.list_models().")
    pretrained: bool = Field(
        default=True,
        description="Start from ImageNet weights: those of the installed `offline` extra for tf_efficientnet_lite0, "
        "else timm's from its hub.",
    )
    input: tuple[int, int] = Field(default=(128, 96), description="Input size, [height, width] in pixels.")
    zoom: float = Field(
        default=1.3,
        ge=1,
        le=4,
        description="How far into the middle of the crop the network looks; 1 is the whole crop.",
    )
    dropout: float = Field(default=0.2, ge=0, lt=1, description="Dropout before the last layer.")
    drop_path: float = Field(default=0.0, ge=0, lt=1, description="Stochastic depth, as timm's drop_path_rate.")

    @field_validator("input")
    @classmethod
    def _sides_make_sense(cls, sides: tuple[int, int]) -> tuple[int, int]:
        if not all(16 <= side <= 1024 for side in sides):
            raise ValueError("each side must be between 16 and 1024 pixels")
        return sides


class TrainConfig(Config):
    """How one network learns. `train` sets it for all tasks, `tasks.NAME.train` for one."""

    epochs: int = Field(default=4, ge=1, le=10_000, description="Passes over the training samples.")
    batch: int = Field(default=64, ge=1, le=65_536, description="Samples per step.")
    loss: Literal["ce", "focal", "f1", "f1_ce", "label_smoothing"] = Field(
        default="ce",
        description="Of heads with one output per class (and, by `head.bins_loss`, of years): cross-entropy, focal "
        "(gamma), soft macro-F1, that and cross-entropy together, or cross-entropy with smoothed labels.",
    )
    gamma: float = Field(default=2.0, ge=0, le=10, description="Focus of the focal loss; 0 is cross-entropy.")
    smoothing: float = Field(default=0.1, ge=0, lt=1, description="Share taken from the true class by label_smoothing.")
    optimiser: str = Field(default="adamw", description="Any of timm's optimisers; see timm.optim.list_optimizers().")
    lr: float = Field(default=5e-4, gt=0, le=10, description="Peak learning rate of the backbone.")
    head_lr_scale: float = Field(
        default=4.0, gt=0, le=1000, description="The last layer learns this many times as fast."
    )
    weight_decay: float = Field(default=0.02, ge=0, le=1, description="Weight decay, not applied to biases and norms.")
    schedule: Literal["cosine", "step", "constant"] = Field(
        default="cosine", description="Course of the learning rate."
    )
    warmup: float = Field(
        default=0.2, ge=0, lt=1, description="Share of all steps in which the learning rate rises linearly."
    )
    step_epochs: int = Field(default=20, ge=1, description="With schedule step: epochs between two decays.")
    step_decay: float = Field(default=0.5, gt=0, le=1, description="With schedule step: factor of each decay.")
    clip_norm: float = Field(default=0.0, ge=0, description="Largest norm of the gradient; 0 leaves it alone.")
    ema: float = Field(
        default=0.0, ge=0, lt=1, description="Decay of the averaged weights that are kept; 0 keeps no average."
    )
    cutmix: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of batches in which half of the face is another sample's.",
    )
    cutmix_with: str = Field(
        default="",
        description="A class that the other halves are taken from where the batch has samples of it; any by default.",
    )
    mixup: float = Field(
        default=0.0, ge=0, le=1, description="Share of batches in which each face is blended with another sample's."
    )
    sampling: Literal["all", "class", "joint"] = Field(
        default="all",
        description="all shows every sample as often as its multiplier says; class and joint draw as many, each class, "
        "or joint class, as often as any other.",
    )
    keep: Literal["best", "last"] = Field(
        default="best",
        description="Which epoch's weights are kept: the best on the held-out photos (the mean macro-F1 of the tasks "
        "that the network tells), or the last.",
    )
    soup: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description="The kept weights are the mean of those after so many last epochs (of their average with ema); "
        "needs `keep: last`. 0 averages none.",
    )
    consistency: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="Weight of what two photos of one person are told differently where their labels are the same; "
        "they are then shown side by side. Not for mixed images, nor for the label that a drawn mask changes.",
    )
    distill: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="With `faceline distill`: the teacher's share of what is learnt; the labels have the rest.",
    )
    freeze: bool = Field(
        default=False, description="Head only: features computed once, a linear head trained on them. For laptops."
    )
    compile: bool = Field(
        default=False,
        description="Train through torch.compile. It takes a minute before the first step and a C++ compiler; on a CPU "
        "it was slower in all.",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="auto is bf16 on a GPU that has it, fp16 on one that has not, and fp32 on a CPU."
    )

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.soup and self.keep != "last":
            raise ValueError("soup averages the last epochs, so it needs keep: last (--set train.keep=last)")
        if self.soup > self.epochs:
            raise ValueError(f"soup is {self.soup}, and there are {self.epochs} epochs only")
        if self.cutmix + self.mixup > 1:
            raise ValueError("cutmix and mixup are shares of the batches, and add up to more than 1")
        if self.consistency and self.batch % 2:
            raise ValueError(f"consistency shows photos in pairs, so batch must be even (it is {self.batch})")
        return self


class HeadConfig(Config):
    """What the network's outputs for a task mean, and how labels become what it learns."""

    kind: Literal["classes", "years", "ordinal", "coral"] = Field(
        default="classes",
        description="One output per class; or, for a numeric label, one per whole number in `range`, whose bins are "
        "summed; or one per border between the classes, each asked of those that reached it (ordinal: CORN) or of "
        "all (coral).",
    )
    spread: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="For a numeric label: the standard deviation, in its unit, by which it is spread over the years, "
        "or over the bins next to a border. 0 takes it as it is; years need more than 0.",
    )
    top: int | None = Field(
        default=None,
        description="With years: numbers from here on are one output, as in a table that says 60 for 60 and over.",
    )
    bins_loss: float = Field(
        default=0.0, ge=0, le=100, description="With years: weight of `train.loss` over the summed bins."
    )
    number_loss: float = Field(
        default=0.0, ge=0, le=100, description="With years: weight of the expected number's distance from the label."
    )
    weights: dict[str, float] = Field(
        default={}, description="What a sample of a class counts in the loss, for those that do not count 1."
    )
    weight: float = Field(
        default=1.0, ge=0, le=100, description="What this task's loss counts in a network that tells several."
    )


class ClassAugment(Config):
    """What is done with the photos of one class."""

    multiplier: int = Field(
        default=1, ge=0, le=1000, description="Times that each photo is seen in an epoch; 0 leaves it out."
    )
    copies: tuple[tuple[Transform, ...], ...] = Field(
        default=(),
        description="Lists of albumentations transforms for the 2nd, 3rd ... time; in turn when there are more times "
        "than lists. The first time has none of them.",
    )


class GroupAugment(ClassAugment):
    """What is done with photos that a rule chooses, whatever their class."""

    where: str = Field(
        min_length=1,
        description="An SQL condition over path, folder, stem, person, id (the person up to the first underscore) and "
        "the tasks: stem = 'mask5' AND id BETWEEN '005400' AND '005599'.",
    )


class AugmentConfig(Config):
    """Augmentation of one task's training samples, as data."""

    every: tuple[Transform, ...] = Field(
        default=({"HorizontalFlip": {"p": 0.5}},),
        description="Albumentations transforms applied to every training sample.",
    )
    classes: dict[str, ClassAugment] = Field(
        default={}, description="Per class: a multiplier and the copies' transforms."
    )
    groups: tuple[GroupAugment, ...] = Field(
        default=(), description="Photos with a multiplier and copies of their own; the first rule that fits counts."
    )
    balance: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Multiplier of classes that have none: (largest / own number) ** balance, rounded. 1 evens out.",
    )
    masks: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the showings of maskless faces on which a mask is drawn; see `masks`.",
    )


class TaskConfig(Config):
    """One question, its classes, and what differs for it from the common settings."""

    classes: tuple[str, ...] = Field(min_length=2, description="Class names in order.")
    edges: tuple[float, ...] = Field(
        default=(), description="For a numeric label: where the next class begins; one fewer than classes."
    )
    range: tuple[float, float] = Field(
        default=(0, 120), description="For a numeric label: the smallest and largest allowed."
    )
    drop: tuple[tuple[float, float], ...] = Field(
        default=(),
        description="For a numeric label: ranges, both ends included, left out of training but not of validation.",
    )
    head: HeadConfig = Field(default=HeadConfig(), description="What the network's outputs mean.")
    model: ModelConfig = Field(default=ModelConfig(), description="This task's own values of `model`.")
    train: TrainConfig = Field(default=TrainConfig(), description="This task's own values of `train`.")
    augment: AugmentConfig = Field(default=AugmentConfig(), description="Augmentation, as data.")

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.edges and (len(self.edges) != len(self.classes) - 1 or list(self.edges) != sorted(set(self.edges))):
            raise ValueError(f"edges must be {len(self.classes) - 1} rising numbers for {len(self.classes)} classes")
        if self.drop and not self.edges:
            raise ValueError("drop names ranges of a numeric label, and this task has no edges")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("two classes have one name")
        for where, names in (("augment.classes", self.augment.classes), ("head.weights", self.head.weights)):
            for name in names:
                if name not in self.classes:
                    raise ValueError(f"{where} names {name!r}, which is none of {', '.join(self.classes)}")
        self._head_fits()
        if self.train.freeze and (self.train.cutmix or self.train.mixup):
            raise ValueError("cutmix and mixup change pixels, and train.freeze reads them only once; set them to 0")
        if self.augment.masks and self.train.freeze:
            raise ValueError(
                "augment.masks changes pixels, and train.freeze reads them only once; set one of them to 0"
            )
        return self

    def _head_fits(self) -> None:
        head = self.head
        if not self.edges and (head.kind != "classes" or head.spread):
            raise ValueError("head: years, ordinal, coral and spread need a numeric label, and this task has no edges")
        if head.spread and head.kind in {"ordinal", "coral"}:
            raise ValueError(f"head.spread has no part in head.kind {head.kind}; it belongs to years and classes")
        if any(not 0 <= weight < 1e6 for weight in head.weights.values()):
            raise ValueError("head.weights must not be negative")
        if head.kind == "years":
            if not head.spread:
                raise ValueError("head.kind years needs a spread above 0")
            if any(value != int(value) for value in (*self.range, *self.edges)) or self.range[1] - self.range[0] > 1000:
                raise ValueError("head.kind years needs whole numbers in range and edges, and at most 1,000 of them")
            if not (self.range[0] < self.edges[0] and self.edges[-1] <= self.range[1]):
                raise ValueError("head.kind years needs edges within range, so that every class has a year")
            if head.top is not None and not self.edges[-1] <= head.top <= self.range[1]:
                raise ValueError(f"head.top must be between the last edge, {self.edges[-1]:g}, and {self.range[1]:g}")
        elif head.bins_loss or head.number_loss or head.top is not None:
            raise ValueError("head.bins_loss, head.number_loss and head.top belong to head.kind years")

    def task(self, name: str) -> Task:
        """The task that these settings describe."""
        low, high = self.range if self.edges else (float("-inf"), float("inf"))
        return Task(name, self.classes, self.edges, low, high)
