"""The learning rate over a training, what weight decay leaves out, and the decay of the moving average."""

from pathlib import Path

import numpy as np
import pytest
import torch
from timm.utils import ModelEmaV3
from torch import nn

from classify.config import ModelConfig, TrainConfig
from classify.models.backbones import build_network
from classify.models.network_plan import plan_networks
from classify.training.loop import ComputeSetup, Trainer
from classify.training.optimisation import build_optimiser, build_schedule
from pipeline.settings import load_settings
from tests.classify.conftest import network_data, plan, task_config

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))
STEPS = 7  # per epoch


class Linear(nn.Linear):
    def get_classifier(self):
        return self


def learning_rates(train, steps_per_epoch=STEPS):
    """The learning rate of every update, in multiples of `lr`."""
    optimiser = build_optimiser(Linear(2, 2), train)
    schedule = build_schedule(optimiser, train, steps_per_epoch)
    rates = []
    for update in range(train.epochs * steps_per_epoch):
        schedule.step_update(update)
        rates.append(optimiser.param_groups[0]["lr"] / train.lr / train.head_lr_scale)
    return rates


def floor_of(train):
    """The last and lowest learning rate, in multiples of `lr`, of a training with `STEPS` updates in an epoch."""
    if train.schedule == "cosine":
        return 0.001
    if train.schedule == "constant":
        return 1.0
    after_warmup = max(train.epochs * STEPS - 1 - train.warmup * train.epochs * STEPS, 0)
    return train.step_decay ** (after_warmup // (train.step_epochs * STEPS))


@pytest.mark.parametrize("epochs", [1, 4, 30])
@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.5, 0.99])
@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
def test_the_last_step_is_at_the_floor_of_the_schedule(schedule, warmup, epochs):
    train = TrainConfig(schedule=schedule, warmup=warmup, epochs=epochs, step_epochs=3)
    rates = learning_rates(train)
    assert rates[-1] == pytest.approx(floor_of(train), rel=1e-6)
    warming = min(warmup * len(rates), len(rates) - 2)
    assert max(rates) == pytest.approx(1, abs=0.2 if schedule == "cosine" else 1e-6), "the peak is lr"
    assert rates[0] == pytest.approx(0.01 if warming else 1), "the warm-up begins at a hundredth"
    after = rates[int(np.ceil(warming)) :]
    assert after == sorted(after, reverse=True), "after the warm-up it never rises"


@pytest.mark.parametrize("preset", EXAMPLES, ids=lambda path: path.stem)
def test_the_last_step_of_a_preset_is_at_the_floor(preset):
    for network in plan_networks(load_settings(preset).tasks):
        assert learning_rates(network.train)[-1] == pytest.approx(floor_of(network.train), rel=1e-6)


def test_trainings_of_one_and_two_updates_have_one_at_the_peak():
    for warmup in (0.0, 0.2, 0.5):
        assert learning_rates(TrainConfig(epochs=1, warmup=warmup), 1) == [1]
        assert learning_rates(TrainConfig(epochs=2, warmup=warmup), 1) == pytest.approx([1, 0.001])
        assert learning_rates(TrainConfig(epochs=3, warmup=warmup), 1)[-1] == pytest.approx(0.001)


def test_the_last_step_that_is_taken_is_at_the_floor(halves):
    config = task_config(warmup=0.5, lr=0.01, epochs=2)
    trainer = Trainer(plan(config), halves, 0, ComputeSetup("cpu"))
    for epoch in range(2):
        trainer.run_epoch(epoch)
    assert trainer.learning_rate == pytest.approx(0.00001)


def test_the_moving_average_has_the_decay_that_the_settings_page_promises(halves):
    trainer = Trainer(plan(task_config(ema=0.9, schedule="constant")), halves, 0, ComputeSetup("cpu"))
    decays = []
    update = trainer._ema.update

    def measured(network, step):
        before = next(trainer._ema.module.parameters()).detach().clone()
        update(network, step=step)
        after, now = next(trainer._ema.module.parameters()).detach(), next(network.parameters()).detach()
        moved = (now - before).abs() > 1e-4
        decays.append(((after - now) / (before - now))[moved].median().item() if moved.any() else 0.0)

    trainer._ema.update = measured
    for epoch in range(8):
        trainer.run_epoch(epoch)
    promised = [min(0.9, 1 - n ** (-2 / 3)) if n else 0 for n in range(len(decays))]
    assert decays == pytest.approx(promised, abs=0.01)
    assert decays[-1] == pytest.approx(0.9, abs=0.01), "48 steps are enough for 0.9"


@pytest.mark.parametrize(
    ("after", "setting", "decay"),
    [(350, 0.98, 0.98), (1000, 0.99, 0.99), (31_623, 0.999, 0.999), (391, 0.99, 0.981), (391, 0.98, 0.98)],
)
def test_a_short_training_does_not_reach_a_large_decay(after, setting, decay):
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(0.0)
    average = ModelEmaV3(network, decay=setting, use_warmup=True)
    average.module.weight.data.fill_(1.0)
    average.update(network, step=after)
    assert average.module.weight.item() == pytest.approx(decay, abs=5e-4)
    assert f"{decay:g}" in (TrainConfig.model_fields["ema"].description or "")


def test_weight_decay_leaves_out_what_the_network_names():
    config = ModelConfig(backbone="test_vit", pretrained=False, input=(64, 48))
    network = build_network(config, 3, pretrained=True)
    optimiser = build_optimiser(network, TrainConfig(weight_decay=0.1))
    decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        left_out = parameter.ndim == 1 or name in {"pos_embed", "cls_token", "reg_token"}
        assert decay[id(parameter)] == (0 if left_out else 0.1), name
    assert {"pos_embed", "cls_token"} <= {name for name, _ in network.named_parameters()}


def test_relative_positions_have_no_weight_decay():
    network = torch.nn.Sequential(nn.Linear(3, 3))
    network.register_parameter("relative_position_bias_table", nn.Parameter(torch.ones(4, 2)))
    network.no_weight_decay = lambda: {"relative_position_*"}
    network.get_classifier = lambda: network[0]
    optimiser = build_optimiser(network, TrainConfig(weight_decay=0.1))
    [group] = [g for g in optimiser.param_groups if any(p.ndim == 2 and p.shape[0] == 4 for p in g["params"])]
    assert group["weight_decay"] == 0


def test_held_out_photos_are_read_batch_by_batch():
    class Watched(np.ndarray):
        largest = 0

        def __getitem__(self, index):
            part = super().__getitem__(index)
            if isinstance(part, np.ndarray) and part.ndim == 4:
                Watched.largest = max(Watched.largest, len(part))
            return part

    pixels = np.zeros((300, 32, 24, 3), np.uint8).view(Watched)
    data = network_data(pixels, np.arange(300) % 2, np.arange(8), np.arange(8, 300))
    trainer = Trainer(plan(task_config()), data, 0, ComputeSetup("cpu"))
    assert trainer.validate()
    assert 0 < Watched.largest <= 64
