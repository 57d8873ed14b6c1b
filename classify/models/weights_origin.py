"""Whose weights a network starts from, and under which licence they were published.

the settings of a network -> source and licence, which its bundle keeps.
"""

from typing import Any

import timm

from classify.config import ModelConfig
from classify.models.face_backbones import FACE_BACKBONES
from classify.models.pretrained_weights import (
    OFFLINE_BACKBONE,
    OFFLINE_PACKAGE,
    find_package_file,
    hub_config,
    is_hub_name,
)

UNKNOWN = "not known"


def weights_origin(config: ModelConfig) -> dict[str, str]:
    """`source` and `licence` of the weights that a network starts from, in words for people.

    Raises:
        BundleError: the backbone is of a repository of the hub that can't be read.
    """
    if config.weights is not None:
        return {"source": f"the file {config.weights.name}", "licence": UNKNOWN}
    if not config.pretrained:
        return {"source": "random weights", "licence": "none needed"}
    if config.backbone in FACE_BACKBONES:
        backbone = FACE_BACKBONES[config.backbone]
        return {"source": backbone.source, "licence": backbone.licence}
    if is_hub_name(config.backbone):
        return {"source": config.backbone, "licence": hub_config(config.backbone)[0].get("license") or UNKNOWN}
    about: Any = timm.get_pretrained_cfg(config.backbone)
    source = about.hf_hub_id or about.url
    if config.backbone == OFFLINE_BACKBONE and find_package_file():
        source = f"{OFFLINE_PACKAGE} of the package registry"
    return {"source": source or UNKNOWN, "licence": about.license or UNKNOWN}
