import importlib.util
import time

import pytest
import torch

from cache.errors import BundleError, UsageError
from classify.config import ModelConfig
from classify.models.backbones import (
    Normalise,
    build_network,
    features_of,
    head_of,
    normalise_of,
    tie_rows,
)
from classify.models.pretrained_weights import OFFLINE_BACKBONE, OFFLINE_PACKAGE


@pytest.mark.parametrize("backbone", ["test_resnet", "test_efficientnet", "test_vit", "test_convnext"])
def test_any_timm_network_gets_a_head_for_the_task_and_the_input_size(backbone):
    config = ModelConfig(backbone=backbone, pretrained=False, input=(64, 48), drop_path=0.1)
    network = build_network(config, 3, pretrained=True).eval()
    images = torch.zeros(2, 3, 64, 48)
    assert network(images).shape == (2, 3)
    assert torch.allclose(head_of(network)(features_of(network, images)), network(images), atol=1e-5)


def test_an_unknown_backbone_is_refused_with_similar_names():
    with pytest.raises(UsageError, match="efficientnet"):
        build_network(ModelConfig(backbone="efficientnet_b99"), 3, pretrained=True)


@pytest.mark.skipif(importlib.util.find_spec(OFFLINE_PACKAGE) is None, reason="needs the extra `offline`")
def test_the_offline_weights_are_imagenets_and_not_random():
    # Two networks agree in every weight but the head's: they came from the package, not from a random start.
    first, second = (build_network(ModelConfig(), 3, pretrained=True).eval() for _ in range(2))
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(features_of(first, images), features_of(second, images))
    assert not torch.equal(head_of(first).weight, head_of(second).weight)
    assert normalise_of(first).mean == (0.5, 0.5, 0.5)
    # Batch norm's running variances of trained weights are far from the 1.0 of a fresh network.
    assert first.state_dict()["bn1.running_var"].std() > 0.05
    assert ModelConfig().backbone == OFFLINE_BACKBONE


def test_without_a_network_the_hubs_weights_are_refused_at_once_in_one_message(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    started = time.perf_counter()
    with pytest.raises(BundleError, match=r"model\.pretrained=false"):
        build_network(ModelConfig(backbone="test_resnet"), 3, pretrained=True)
    assert time.perf_counter() - started < 10


def test_pixels_are_normalised_to_what_the_weights_expect():
    normalise = normalise_of(build_network(ModelConfig(pretrained=False), 2, pretrained=False))
    images = normalise(torch.tensor([[[[0, 127.5, 255]]]]))
    assert images.shape == (1, 3, 1, 1)
    assert images.flatten().tolist() == pytest.approx([-1, 0, 1], abs=1e-6)


def test_tied_outputs_begin_and_stay_equal():
    network = build_network(ModelConfig(backbone="test_resnet.r160_in1k", input=(32, 24)), 5, pretrained=False)
    tie_rows(network, [slice(2, 5)])
    step = torch.optim.AdamW(network.parameters(), lr=0.01)
    images = torch.randn((4, 3, 32, 24), generator=torch.manual_seed(0))
    for _ in range(3):
        step.zero_grad()
        (network(images) * torch.tensor([1.0, -1, 1, 1, -1])).sum().backward()
        step.step()
    head = head_of(network)
    assert torch.equal(head.weight[2], head.weight[4])
    assert not torch.equal(head.weight[1], head.weight[2])
    assert head.bias[2] != head.bias[4]


def test_tied_outputs_need_a_linear_last_layer():
    network = build_network(ModelConfig(backbone="test_resnet.r160_in1k", input=(32, 24)), 5, pretrained=False)
    network.fc = torch.nn.Identity()
    with pytest.raises(UsageError, match="Identity"):
        tie_rows(network, [slice(2, 5)])


def test_mean_and_std_are_copied_to_a_device_once(monkeypatch):
    normalise, copied = Normalise((0.25, 0.5, 0.125), (0.3, 0.4, 0.6)), []
    original = torch.tensor
    monkeypatch.setattr(
        torch, "tensor", lambda values, device: copied.append(values) or original(values, device=device)
    )
    with torch.inference_mode():
        normalise(torch.zeros(1, 2, 2, 3, dtype=torch.uint8, device="meta"))
    for _ in range(3):
        images = normalise(torch.zeros(4, 2, 2, 3, dtype=torch.uint8, device="meta"))
    assert copied == [normalise.mean, normalise.std]
    assert (images.shape, images.dtype, images.is_inference()) == ((4, 3, 2, 2), torch.float32, False)
