"""Keep a training's state on disk without pickle.

Tensors and plain values -> one safetensors file, with the values as JSON in its header -> back again.

Tensors and values are in one file because two can't be replaced at once: a kill in between would leave the weights of
one epoch beside the history of another. The JSON file next to it is a copy for people to read.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from cache import atomic
from cache.errors import BundleError

VERSION = 1


def save_checkpoint(path: Path, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Write `tensors` and `values` to `path` (.safetensors) in one step, and the values to .json beside it."""
    text = json.dumps({"version": VERSION, **values}, allow_nan=False)
    flat = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    atomic.write_bytes(path, save(flat, metadata={"state": text}))
    atomic.write_text(path.with_suffix(".json"), json.dumps(json.loads(text), indent=1))


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors, onto the CPU, and values that `save_checkpoint` wrote.

    Raises:
        BundleError: the file is damaged or of a newer version.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            values = json.loads((file.metadata() or {})["state"])
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise BundleError(f"{path} is damaged ({error}); delete it to train this task anew") from error
    if values["version"] > VERSION:
        raise BundleError(f"{path} was written by a newer faceline (version {values['version']}); upgrade faceline")
    return tensors, values


def flatten(groups: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """Put several groups of tensors in one dictionary, named "group.name"."""
    return {f"{group}.{name}": tensor for group, tensors in groups.items() for name, tensor in tensors.items()}


def unflatten(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The inverse of `flatten`; a group without tensors comes back empty."""
    groups: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in tensors.items():
        group, _, name = key.partition(".")
        groups[group][name] = tensor
    return groups


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take out an optimiser's state: its tensors by "parameter.name", and everything else as plain values."""
    state = optimiser.state_dict()
    tensors: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for index, slots in state["state"].items():
        for name, value in slots.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                plain.setdefault(str(index), {})[name] = value
    return tensors, {"groups": state["param_groups"], "plain": plain}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Put back what `optimiser_tensors` took out; with `tensors` on the CPU, each gets to the device it belongs on.

    Adam's step counts belong on the CPU: on a GPU, each would be read back in every update, and torch leaves them
    where they are.
    """
    state: dict[int, dict[str, Any]] = {int(index): dict(slots) for index, slots in values["plain"].items()}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": values["groups"]})
