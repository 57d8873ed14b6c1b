"""Settings of augmentation: what training photos go through, and how often each is used."""

from typing import Annotated, Any

from pydantic import Field

from cache.config import Config

Share = Annotated[float, Field(ge=0, le=1)]
Transform = dict[str, dict[str, Any]]  # one albumentations transform: {name: {argument: value}}


class ClassAugment(Config):
    """How the photos of one class are repeated and transformed."""

    multiplier: int = Field(
        default=1, ge=0, le=1000, description="Times that each photo is used in an epoch; 0 leaves it out."
    )
    copies: tuple[tuple[Transform, ...], ...] = Field(
        default=(),
        description="Lists of albumentations transforms for the 2nd, 3rd ... use in an epoch, in turn if there are "
        "more uses than lists. The first use has none of them.",
    )


class GroupAugment(ClassAugment):
    """How photos that match a rule are repeated and transformed, whatever their class."""

    where: str = Field(
        min_length=1,
        description="An SQL condition over path, folder, stem, person, id (the person up to the first underscore) and "
        "the tasks: stem = 'mask5' AND id BETWEEN '005400' AND '005599'.",
    )


class AugmentConfig(Config):
    """Augmentation of one task's training samples."""

    every: tuple[Transform, ...] = Field(
        default=({"HorizontalFlip": {"p": 0.5}},),
        description="Albumentations transforms, or compositions such as OneOf, applied to every training sample.",
    )
    classes: dict[str, ClassAugment] = Field(
        default={}, description="Per class: a multiplier and the copies' transforms."
    )
    groups: tuple[GroupAugment, ...] = Field(
        default=(), description="Photos with their own multiplier and copies; the first matching rule counts."
    )
    balance: Share = Field(
        default=0.0,
        description="Multiplier of classes that set none: (largest class / class) ** balance, rounded; 1 evens out.",
    )
    masks: Share = Field(default=0.0, description="Share of the uses of maskless faces that get a mask; see `masks`.")
