"""Training that fits the last layer: entirely (train.freeze), or before the steps (train.probe)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cache.errors import BundleError, UsageError
from classify.config import AugmentConfig
from classify.data.training_set import DrawnMasks
from classify.inference.calibration import log_loss
from classify.inference.probabilities import probabilities
from classify.models.backbones import build_network, head_of, normalise_of
from classify.training.last_layer import fit_last_layer
from classify.training.loop import ComputeSetup, train_network
from classify.training.network_trial import refuse_unusable_network
from classify.training.probe import fit_head
from tests.classify.conftest import make_halves, plan, task_config

CPU = ComputeSetup("cpu")


def train(config, data, folder):
    histories = []
    network = train_network(plan(config), data, folder, seed=0, compute=CPU, on_epoch_end=histories.append)
    return network, histories[-1]


def fresh_network(config):
    torch.manual_seed(0)
    return build_network(config.model, 2, pretrained=True)


def test_a_frozen_backbone_stays_as_it_is_and_its_last_layer_is_fitted(halves, tmp_path):
    config = task_config(freeze=True)
    network, [line] = train(config, halves, tmp_path)
    head = {f"fc.{name}" for name, _ in head_of(network).named_parameters()}
    for name, value in fresh_network(config).state_dict().items():
        assert torch.equal(value, network.state_dict()[name]) == (name not in head), name
    assert (line["epoch"], line["lr"], line["accuracy"]) == (1, 0, 1)
    assert line["penalty"] > 0
    assert line["loss"] < 0.3


def test_fitted_it_is_better_on_new_people_than_after_epochs_of_steps(tmp_path):
    """The last layer alone in both cases: a learning rate of almost 0 for the backbone is no training of it."""
    data = make_halves()
    pixels = np.random.default_rng(1).normal(data.pixels, 60).clip(0, 255).astype(np.uint8)  # harder to see
    data = replace(data, pixels=pixels)
    _, [fitted] = train(task_config(freeze=True), data, tmp_path / "fitted")
    steps = task_config(epochs=8, lr=3e-6, head_lr_scale=1000, dropout=0)
    _, history = train(steps, data, tmp_path / "steps")
    assert fitted["loss"] < min(line["loss"] for line in history) - 0.02


def test_a_fit_is_not_made_twice_and_not_mixed_with_other_settings(halves, tmp_path, monkeypatch):
    network, history = train(task_config(freeze=True), halves, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("classify.training.trainer.fit_head", None)
        again, same_history = train(task_config(freeze=True), halves, tmp_path)
    assert same_history == history
    assert torch.equal(head_of(again).weight, head_of(network).weight)
    with pytest.raises(BundleError, match="other settings"):
        train(task_config(freeze=True, views=3), halves, tmp_path)


def test_a_checkpoint_of_a_frozen_backbone_trained_in_steps_is_read_if_it_is_finished(halves, tmp_path, monkeypatch):
    def of_before(folder, epochs):
        """The checkpoint that an older version would have written after two epochs."""
        with monkeypatch.context() as patch:
            patch.setattr("classify.training.optimisation.FIT_RECIPE", 2)
            patch.setattr("classify.config.TrainConfig.passes", 2)
            return train(task_config(freeze=True, epochs=epochs), halves, folder)

    network, history = of_before(tmp_path / "finished", 2)
    assert len(history) == 2
    again, same_history = train(task_config(freeze=True, epochs=2), halves, tmp_path / "finished")
    assert same_history == history
    assert torch.equal(head_of(again).weight, head_of(network).weight)
    of_before(tmp_path / "begun", 3)
    with pytest.raises(BundleError, match="another version"):
        train(task_config(freeze=True, epochs=3), halves, tmp_path / "begun")


def test_drawn_masks_come_with_their_labels(halves):
    face = np.array([[6, 10], [18, 10], [12, 17], [8, 22], [16, 22]], np.float32)
    masks = DrawnMasks(np.tile(face, (64, 1, 1)), 1.0, task=0, codes={"right": 0, "nose_out": 0, "under_chin": 0})
    config = task_config(freeze=True, views=6)
    network = fresh_network(config)
    plain = fit_head(network, plan(config), halves, views=6, seed=0, device="cpu")
    drawn = fit_head(network, plan(config), replace(halves, masks=masks), views=6, seed=0, device="cpu")
    assert not torch.allclose(drawn.bias, plain.bias, atol=0.01)


def test_a_photo_counts_as_often_as_an_epoch_would_have_it(halves, monkeypatch):
    counted = []

    def fit(features, targets, heads, person_ids):
        assert len(features) == 2 * 48
        counted.append(targets.sum(dim=1).reshape(2, 48).numpy())
        return fit_last_layer(features, targets, heads, person_ids)

    monkeypatch.setattr("classify.training.probe.fit_last_layer", fit)
    config = task_config(freeze=True)
    upper = halves.codes[:48, 0] == 0
    repeated = AugmentConfig.model_validate({"classes": {"upper": {"multiplier": 3}}})
    for augment, weights in ((repeated, None), (config.augment, np.where(halves.codes[:, 0] == 0, 3.0, 1.0))):
        settings = config.model_copy(update={"augment": augment})
        data = replace(halves, sampling_weights=weights)
        fit_head(fresh_network(config), plan(settings), data, views=2, seed=0, device="cpu")
    for first_view, second_view in counted:
        assert (first_view == second_view).all()
        assert first_view[upper] / first_view[~upper].mean() == pytest.approx(np.full(upper.sum(), 3.0), rel=1e-5)


@pytest.mark.parametrize(("backbone", "ema"), [("test_convnext", 0.0), ("test_resnet.r160_in1k", 0.9)])
def test_a_training_after_a_probe_starts_where_the_fit_ended(halves, tmp_path, backbone, ema):
    """Also with batch norm, whose statistics are those of other photos before."""
    data = replace(halves, pixels=halves.pixels.repeat(2, axis=1).repeat(2, axis=2))  # test_convnext's smallest

    def line(name, **train_keys):
        nothing = {"lr": 1e-9, "epochs": 1, "batch": 24, "dropout": 0}
        config = task_config(backbone, size=(64, 48), ema=ema, **nothing, **train_keys)
        config = config.model_copy(update={"augment": AugmentConfig(every=())})
        return train(config, data, tmp_path / name)[1][0]

    probed, unprobed = line("probed", probe=True), line("unprobed")
    for loss in ("loss", "train_loss"):
        assert probed[loss] < unprobed[loss] - 0.05
    assert "penalty" not in probed


def test_a_probe_is_not_repeated_when_its_training_is_resumed(halves, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(_):
        raise Killed

    config = task_config(probe=True, epochs=2)
    _, history = train(config, halves, tmp_path / "uninterrupted")
    with pytest.raises(Killed):
        train_network(plan(config), halves, tmp_path / "killed", seed=0, compute=CPU, on_epoch_end=kill)
    monkeypatch.setattr("classify.training.trainer.fit_head", None)
    _, resumed_history = train(config, halves, tmp_path / "killed")
    assert [line["loss"] for line in resumed_history] == [line["loss"] for line in history]
    last = [load_file(tmp_path / name / "last.safetensors") for name in ("uninterrupted", "killed")]
    assert all(torch.equal(value, last[1][name]) for name, value in last[0].items())


def test_after_a_probe_the_last_layer_learns_no_faster_than_the_backbone():
    from classify.config import TrainConfig

    assert TrainConfig(probe=True).head_lr_scale == 1
    assert TrainConfig(probe=True, head_lr_scale=3).head_lr_scale == 3
    assert TrainConfig().head_lr_scale == 4


@pytest.mark.parametrize("key", ["freeze", "probe"])
def test_a_backbone_without_a_linear_last_layer_is_named(key, monkeypatch):
    monkeypatch.setattr("classify.training.probe.head_of", lambda _: torch.nn.Conv2d(8, 2, 1))
    with pytest.raises(UsageError, match=rf"train\.{key} fits a linear last layer, and test_resnet.* has none"):
        refuse_unusable_network(plan(task_config(**{key: True})))


def test_the_epoch_with_the_lowest_loss_on_new_people_can_be_kept(halves, tmp_path):
    rng = np.random.default_rng(0)
    codes = np.where(rng.random(64) < 0.3, 1 - halves.codes[:, 0], halves.codes[:, 0])[:, None]  # learned by heart
    data = replace(halves, codes=codes)
    network, history = train(task_config(epochs=8, keep="best_loss", lr=0.01), data, tmp_path)
    losses = [line["loss"] for line in history]
    assert min(losses) < losses[-1]
    config = plan(task_config())
    [predicted] = probabilities(network, config.heads, data.pixels[48:], normalise_of(network), "cpu")
    assert log_loss(predicted, codes[48:, 0]) == pytest.approx(min(losses), abs=1e-5)
