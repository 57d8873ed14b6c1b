import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from cache.errors import UsageError
from classify.config import ModelConfig, TaskConfig
from classify.inference.bundle import trained_network
from classify.inference.saliency import saliency_maps
from classify.models.backbones import build_network
from classify.models.network_plan import Plan
from classify.tasks import Task

MASK = Task("mask", ("wear", "normal"))


def network_of(backbone, size):
    """A network with random weights that predicts MASK from inputs of `size`."""
    torch.manual_seed(0)
    model = ModelConfig(backbone=backbone, pretrained=False, input=size)
    plan = Plan("mask", (MASK,), (TaskConfig(classes=MASK.classes, model=model),))
    return trained_network(plan, "mask", build_network(model, plan.heads.outputs, pretrained=False).eval())


@pytest.mark.parametrize(
    ("backbone", "size"),
    [("test_resnet", (64, 48)), ("test_vit", (160, 160)), ("face_dlib", (96, 96)), ("test_convnext", (64, 64))],
)
def test_networks_of_all_families_get_a_map_as_large_as_the_input(backbone, size):
    inputs = np.random.default_rng(0).integers(0, 256, (3, *size, 3), np.uint8)
    maps = saliency_maps(network_of(backbone, size), "mask", inputs, [0, 1, 0])
    assert maps.shape == (3, *size)
    assert maps.min() >= 0
    assert maps.max() <= 1
    assert max(each.std() for each in maps) > 0.01, "a map without differences shows nothing"


def test_the_map_is_where_the_evidence_is():
    class Brightness(torch.nn.Module):
        """Says "wear" where it is bright."""

        def __init__(self):
            super().__init__()
            self.map = torch.nn.Conv2d(3, 1, 8, 8, bias=False)
            torch.nn.init.constant_(self.map.weight, 0.001)

        def forward(self, images):
            seen = self.map(images).mean(dim=(1, 2, 3))
            return torch.stack([seen, -seen], dim=1)

    trained = replace(network_of("test_resnet", (64, 64)), network=Brightness())
    image = np.zeros((1, 64, 64, 3), np.uint8)
    image[:, :32, :32] = 255
    [found] = saliency_maps(trained, "mask", image, [0])
    assert found[:24, :24].min() > 0.9
    assert found[40:, 40:].max() < 0.1
    [other] = saliency_maps(trained, "mask", image, [1])
    assert other[:24, :24].max() < 0.1, "what is bright speaks against it"


def test_without_the_extra_one_line_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
    with pytest.raises(UsageError, match=r"pip install 'faceline\[explain\]'"):
        saliency_maps(network_of("test_resnet", (64, 48)), "mask", np.zeros((1, 64, 48, 3), np.uint8), [0])
