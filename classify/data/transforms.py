"""albumentations' transforms from the lists in the settings, each tried before a network is trained with it.

A list of {name: {argument: value}} -> transforms -> A.Compose: an input with surroundings -> an augmented input.

A transform that turns, shifts or distorts a picture takes pixels from beyond its edge. So the surroundings of the input
are kept until the last such transform of a list, and cut off after it. Where they end as well, the border is repeated.
"""

import copy
import difflib
import inspect
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from cache.errors import UsageError
from classify.augment_config import Transform
from classify.preprocessing import Margin

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would look for a newer release on import

import albumentations as A

Size = tuple[int, int]  # height, width
KINDS = (A.BasicTransform, A.BaseCompose)
CROPS = (A.Crop, A.CenterCrop, A.RandomCrop, A.Pad, A.CropAndPad)  # they have a border_mode, too
INSIDE = {"transforms", "first", "second"}  # arguments of compositions
HARMLESS = ".*(is a special case of|is an alias for|is a specialized version of|augmenter is very slow)"  # a warning
TRIALS = 3  # random pictures that a transform is tried on


@dataclass(frozen=True, slots=True)
class BuiltTransform:
    """A transform of albumentations, or a composition of some."""

    transform: Any
    key: str  # of its list in the settings, for errors

    @property
    def is_geometric(self) -> bool:
        """Whether it takes pixels from beyond the picture's edge, and leaves the picture's size."""
        return any(hasattr(leaf, "border_mode") and not isinstance(leaf, CROPS) for leaf in _leaves(self.transform))


def build_transforms(key: str, transforms: Sequence[Transform]) -> list[BuiltTransform]:
    """Build the transforms of a list in the settings.

    Args:
        key: of the list, for errors.
        transforms: {name: {argument: value}}; compositions such as OneOf have such a list in the argument `transforms`.

    Raises:
        UsageError: albumentations has no such transform, or the transform does not take these arguments.
    """
    return [BuiltTransform(_build(key, name, args), key) for entry in transforms for name, args in entry.items()]


def compose(transforms: Sequence[BuiltTransform], size: Size, margin: Margin) -> A.Compose:
    """Put the transforms in a row, with the cut from a picture with surroundings to the input where it belongs.

    Args:
        transforms: in the order of their use.
        size: of the input.
        margin: of the surroundings in the pictures, which all have `size` without them.

    Raises:
        UsageError: a transform fails on a picture, or what it leaves is no RGB uint8 picture.
    """
    wide = (size[0] + 2 * margin[0], size[1] + 2 * margin[1])
    geometric = [number for number, built in enumerate(transforms, 1) if built.is_geometric]

    # Try each transform on all sizes that a picture can have when its turn comes.
    sizes = {size}
    for built in transforms:
        sizes = _sizes_after(built.transform, sizes, built.key)
    if not any(margin):
        return A.Compose([built.transform for built in transforms])

    # Cut after the last geometric transform, or before an earlier one that sets a size itself, as a random crop does.
    cut = 0
    for number, built in enumerate(transforms[: max(geometric, default=0)], 1):
        if _sizes_after(built.transform, {wide}, built.key) != {wide}:
            break
        cut = number if built.is_geometric else cut
    shares = {"x": size[1] / wide[1], "y": size[0] / wide[0]}
    on_wide = [_with_scaled_shifts(built.transform, shares) for built in transforms[:cut]]
    return A.Compose([*on_wide, A.CenterCrop(*size), *(built.transform for built in transforms[cut:])])


def _build(key: str, name: str, arguments: Mapping[str, Any] | None) -> Any:
    """Build one transform; a composition with those inside it."""
    known = {name: kind for name, kind in vars(A).items() if isinstance(kind, type) and issubclass(kind, KINDS)}
    if name not in known:
        similar = ", ".join(difflib.get_close_matches(name, known, n=3))
        hint = f"; the nearest names are {similar}" if similar else ""
        raise UsageError(f"{key}: albumentations has no transform {name!r}{hint}")
    given: dict[str, Any] = _as_tuples(arguments or {})
    if issubclass(known[name], A.BaseCompose):
        given |= {argument: _build_inside(key, name, argument, given[argument]) for argument in INSIDE & given.keys()}
    elif "border_mode" in inspect.signature(known[name]).parameters and not given.keys() & {"border_mode", "fill"}:
        given["border_mode"] = cv2.BORDER_REPLICATE  # instead of black, which prediction never sees
    try:
        with warnings.catch_warnings():
            # albumentations only warns of an argument that it does not know, and works with its defaults.
            warnings.simplefilter("error", UserWarning)
            warnings.filterwarnings("ignore", HARMLESS)
            return known[name](**given)
    except (TypeError, ValueError, ArithmeticError, UserWarning) as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines() if "errors.pydantic.dev" not in line)
        raise UsageError(f"{key}: {name} does not take {dict(arguments or {})}: {reason}") from None


def _build_inside(key: str, name: str, argument: str, value: Any) -> Any:
    """Build the transforms inside a composition: a list of them for `transforms`, else one."""
    entries = value if argument == "transforms" else (value,)
    if not isinstance(entries, tuple) or not entries or not all(isinstance(e, dict) and len(e) == 1 for e in entries):
        flip = "HorizontalFlip: {p: 0.5}"
        example = f"[{flip}, ToGray: {{p: 1}}]" if argument == "transforms" else f"{{{flip}}}"
        raise UsageError(f"{key}: {name} has transforms inside; write them as in {argument}: {example}")
    built = [_build(key, inner, arguments) for entry in entries for inner, arguments in entry.items()]
    return built if argument == "transforms" else built[0]


def _as_tuples(value: Any) -> Any:
    """Lists as tuples, at every depth: YAML has lists only, and albumentations checks for tuples."""
    if isinstance(value, Mapping):
        return {key: _as_tuples(item) for key, item in value.items()}
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list | tuple) else value


def _leaves(transform: Any) -> Iterator[Any]:
    """Yield the transform, or those inside a composition."""
    if isinstance(transform, A.BaseCompose):
        for inner in transform.transforms:
            yield from _leaves(inner)
    else:
        yield transform


def _sizes_after(transform: Any, sizes: set[Size], key: str, *, always: bool = False) -> set[Size]:
    """Try a transform on pictures of these sizes, and return the smallest and the largest that it leaves.

    Args:
        transform: applied as if its `p` were 1.
        sizes: of the pictures.
        key: of its list in the settings, for errors.
        always: whether it is applied whatever its `p` is.
    """
    if not isinstance(transform, A.BaseCompose) or isinstance(transform, A.SelectiveChannelTransform):
        after = {left for size in sizes for left in _try(transform, size, key)}
    elif isinstance(transform, A.Sequential | A.Compose):
        after = sizes
        for inner in transform.transforms:
            after = _sizes_after(inner, after, key)
    else:
        is_chosen = isinstance(transform, A.OneOf | A.OneOrOther)  # then the p of what is inside is a weight
        parts = [_sizes_after(inner, sizes, key, always=is_chosen) for inner in transform.transforms]
        after = set[Size]().union(*parts)
    if transform.p < 1 and not always and not isinstance(transform, A.OneOrOther):
        after = after | sizes
    return {min(after), max(after)}


def _try(transform: Any, size: Size, key: str) -> Iterator[Size]:
    """Apply a transform to random pictures, and yield the size of each result."""
    name = type(transform).__name__
    for seed in range(TRIALS):
        picture = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
        transform.set_random_seed(seed)
        try:
            result = transform(image=picture, force_apply=True)["image"]
        except Exception as error:  # a transform may raise anything, and would do so again in training
            where = f"a picture of {size[0]}x{size[1]} (height x width)"
            raise UsageError(
                f"{key}: {name} fails on {where}: {error}; change its arguments or leave it out"
            ) from error
        kind, shape = (getattr(result, name, type(result).__name__) for name in ("dtype", "shape"))
        if not isinstance(result, np.ndarray) or kind != np.uint8 or result.ndim != 3 or result.shape[2] != 3:
            raise UsageError(
                f"{key}: {name} leaves {kind} {tuple(shape)}, but training takes RGB, uint8 (height, width, 3)."
                " Leave it out: colours are normalised and pictures become tensors after the augmentation"
            )
        yield result.shape[:2]


def _with_scaled_shifts(transform: Any, shares: Mapping[str, float]) -> Any:
    """Copy a transform, with shifts that are shares of the input's sides where the picture has surroundings."""
    scaled = copy.deepcopy(transform)
    for leaf in _leaves(scaled):
        if isinstance(leaf, A.Affine) and leaf.translate_percent:
            leaf.translate_percent = {
                axis: (low * shares[axis], high * shares[axis]) for axis, (low, high) in leaf.translate_percent.items()
            }
    return scaled
