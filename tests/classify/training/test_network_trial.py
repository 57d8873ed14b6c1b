"""A network that can't be trained is refused before there are photos, in one sentence that names the setting."""

import time

import pytest
import torch

from cache.errors import BundleError, UsageError
from classify.models.network_plan import plan_networks
from classify.training import network_trial
from classify.training.network_trial import refuse_unusable_network
from pipeline.settings import load_settings

SMALL = ["model.backbone=test_resnet", "model.pretrained=false", "model.input=[32,24]"]


def plan_of(*overrides):
    return plan_networks(load_settings(None, [*SMALL, *overrides]).tasks)[-1]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.backbone=tf_efficientnet_lite00"],
         r"^model\.backbone: timm has no .* The nearest names are tf_efficientnet_lite0, "),
        (["model.backbone=vit_small"], "The nearest names are vit_small_patch"),
        (["model.backbone=ResNet-50"], "The nearest names are resnet50"),
        (["model.backbone=resnet50.foo"], r"'resnet50\.foo'\. The nearest names are resnet50\."),
        (["model.backbone=inception_v3", "model.input=[64,48]"],
         r"^model\.input: inception_v3 can't take inputs of 64x48 .* It was made for 299x299; set another"),
        (["model.backbone=test_vit", "model.input=[33,24]"], r"^model\.input: test_vit can't take inputs of 33x24"),
        (["model.backbone=inception_v3", "model.drop_path=0.1"], r"^model\.drop_path: inception_v3 has no stochastic"),
        (["train.batch=1"], r"^train\.batch: test_resnet normalises over the photos of a step"),
        (["train.optimiser=adamx"], r"^train\.optimiser: .*'adamx'"),
        (["model.backbone=levit_128", "model.input=[64,48]", "tasks.age.head.kind=coral"],
         r"^head\.kind coral needs a linear"),
    ],
)  # fmt: skip
def test_it_is_refused_in_a_sentence_that_names_the_setting(overrides, message):
    with pytest.raises(UsageError, match=message) as raised:
        refuse_unusable_network(plan_of(*overrides))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["train.batch=1", "model.input=[96,72]"],
        ["train.batch=1", "train.freeze=true"],
        ["model.backbone=test_vit", "model.input=[32,48]"],
        ["tasks.age.head.kind=coral"],
        ["model.backbone=tf_efficientnet_lite0", "model.drop_path=0.2"],
    ],
)
def test_what_can_be_trained_is_not_refused(overrides):
    refuse_unusable_network(plan_of(*overrides))


def test_a_single_photo_to_train_on_is_a_step_of_one():
    refuse_unusable_network(plan_of())
    with pytest.raises(UsageError, match=r"train\.batch: test_resnet"):
        refuse_unusable_network(plan_of(), step_size=1)


def test_the_trial_takes_no_memory_and_little_time():
    plan = plan_of("model.backbone=resnet152", "model.input=[256,192]")
    state, started = torch.get_rng_state(), time.process_time()
    refuse_unusable_network(plan)
    assert time.process_time() - started < 5, "0.4 s where nothing else runs"
    assert torch.equal(torch.get_rng_state(), state), "what is random later does not depend on it"


def test_weights_that_timm_lacks_or_that_can_not_be_downloaded_are_refused_too(monkeypatch):
    monkeypatch.setattr("classify.models.backbones.go_offline_without_hub", lambda: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    plan = plan_of("model.pretrained=true", "model.backbone=test_convnext", "model.input=[64,48]")
    with pytest.raises(BundleError, match="can't be loaded from timm's hub"):
        refuse_unusable_network(plan)
    monkeypatch.setattr(network_trial.timm, "is_model_pretrained", lambda _: False)
    with pytest.raises(UsageError, match=r"model\.pretrained: timm has no weights for test_convnext;"):
        refuse_unusable_network(plan)
