import json
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from cache.errors import BundleError, UsageError
from classify.config import AugmentConfig, TaskConfig
from classify.data.training_set import DrawnMasks, NetworkData
from classify.inference.probabilities import probabilities
from classify.models.backbones import normalise_of
from classify.tasks import Task
from classify.training.checkpoint import load_checkpoint, optimiser_tensors, restore_optimiser, save_checkpoint
from classify.training.loop import ComputeSetup, Trainer, load_best, train_network
from classify.training.weight_averaging import WeightAverage
from tests.classify.conftest import TINY, network_data, plan, task_config
from tests.waiting import OperationsThatWait

CPU = ComputeSetup("cpu")
HEADS = plan(task_config()).heads


class Killed(BaseException):
    pass


def train(config, data, folder, on_epoch_end=lambda _: None, seed=0):
    histories = []

    def keep(history):
        histories.append(history)
        on_epoch_end(history)

    network = train_network(plan(config), data, folder, seed=seed, compute=CPU, on_epoch_end=keep)
    timeless = [{k: v for k, v in line.items() if k != "seconds"} for line in histories[-1]]
    return network, timeless


def same_weights(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_a_small_network_learns_the_task_and_keeps_its_best_epoch(halves, tmp_path):
    network, history = train(task_config(epochs=6), halves, tmp_path)
    best = max(line["macro_f1"] for line in history)
    assert best > 0.9
    [predicted] = probabilities(network, HEADS, halves.pixels[halves.validate], normalise_of(network), "cpu")
    [line] = json.loads((tmp_path / "best.json").read_text())["lines"]
    assert line["macro_f1"] == best
    assert (predicted.argmax(1) == halves.codes[halves.validate, 0]).mean() == pytest.approx(line["accuracy"])


@pytest.mark.parametrize(
    "extra",
    [
        {"ema": 0.9, "soup": 2, "keep": "last"},
        {"ema": 0.9},
        {"loss": "f1", "cutmix": 0.5, "clip_norm": 1.0},
        {"consistency": 1.0, "mixup": 0.5},
    ],
)
def test_a_killed_training_ends_with_the_metrics_and_weights_of_an_uninterrupted_one(halves, tmp_path, extra):
    config = task_config(**extra)
    goes_on_where_it_was_killed(config, halves, tmp_path)


def test_drawn_masks_and_drawn_samples_are_the_same_after_a_kill(halves, tmp_path):
    face = np.array([[6, 10], [18, 10], [12, 17], [8, 22], [16, 22]], np.float32)
    masks = DrawnMasks(np.tile(face, (64, 1, 1)), 0.7, task=0, codes={"right": 0, "nose_out": 1, "under_chin": 1})
    data = replace(halves, masks=masks, sampling_weights=np.linspace(0.5, 1.5, 64))
    assert any(masks.draw(data.pixels[row], row, np.random.default_rng(row))[1] for row in range(9)), "a face fits"
    config = task_config(cutmix=0.5, cutmix_with="lower", sampling="class")
    goes_on_where_it_was_killed(config, data, tmp_path)


def goes_on_where_it_was_killed(config, halves, tmp_path):
    uninterrupted, uninterrupted_history = train(config, halves, tmp_path / "uninterrupted")

    def kill(history):
        if len(history) == 2:
            raise Killed

    with pytest.raises(Killed):
        train(config, halves, tmp_path / "killed", on_epoch_end=kill)
    resumed, resumed_history = train(config, halves, tmp_path / "killed")
    assert resumed_history == uninterrupted_history
    assert same_weights(uninterrupted.state_dict(), resumed.state_dict())
    last = [load_file(tmp_path / name / "last.safetensors") for name in ("uninterrupted", "killed")]
    assert same_weights(*last)


def test_halves_come_from_the_class_that_is_named_whatever_rule_chose_its_photos(halves):
    config = task_config(cutmix=1.0, cutmix_with="lower").model_copy(
        update={"augment": AugmentConfig(every=(), groups=({"where": "true"},))}
    )
    pixels = np.zeros_like(halves.pixels)
    pixels[halves.codes[:, 0] == 1] = 200
    data = replace(halves, pixels=pixels, augmentation_groups=np.full_like(halves.augmentation_groups, 2))
    epoch = Trainer(plan(config), data, 0, CPU)._loader.epoch(0)
    images = torch.cat([epoch[step][0] for step in range(len(epoch))])
    assert (images[:, :, 12:] == 200).all()
    assert not (images[:, :, :12] == 200).all()


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_a_weight_average_is_the_mean_of_the_weights_after_the_last_epochs(halves, tmp_path, ema):
    states = []

    def read_last(_):
        tensors = load_file(tmp_path / "last.safetensors")
        prefix = "ema." if ema else "network."
        states.append({name.removeprefix(prefix): v for name, v in tensors.items() if name.startswith(prefix)})

    config = task_config(epochs=4, soup=2, keep="last", ema=ema)
    network, history = train(config, halves, tmp_path, on_epoch_end=read_last)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            assert torch.allclose(value, (states[2][name] + states[3][name]) / 2, atol=1e-6), name
        else:
            assert torch.equal(value, states[3][name]), name
    assert any(not torch.equal(states[2][name], states[3][name]) for name in states[3] if "running_mean" in name)
    [predicted] = probabilities(network, HEADS, halves.pixels[halves.validate], normalise_of(network), "cpu")
    assert (predicted.argmax(1) == halves.codes[halves.validate, 0]).mean() == pytest.approx(history[-1]["accuracy"])


@pytest.mark.parametrize(
    ("extra", "message"), [({"soup": 2}, "keep: last"), ({"soup": 4, "keep": "last"}, "only 3 epochs")]
)
def test_a_weight_average_that_does_not_fit_the_epochs_is_refused(extra, message):
    with pytest.raises(ValidationError, match=message):
        task_config(**extra)


def test_a_student_learns_from_the_teacher_by_its_weight(halves, tmp_path):
    contrary = np.eye(2, dtype=np.float32)[1 - halves.codes[:, 0]]
    for share, right in ((0.0, True), (0.9, False)):
        distilled = replace(halves, teacher_targets=contrary, teacher_weight=share)
        network, _ = train(task_config(epochs=6, keep="last"), distilled, tmp_path / str(share))
        [predicted] = probabilities(network, HEADS, halves.pixels[halves.validate], normalise_of(network), "cpu")
        assert ((predicted.argmax(1) == halves.codes[halves.validate, 0]).mean() > 0.5) == right
    with pytest.raises(BundleError, match="other settings"):
        train(task_config(epochs=6, keep="last"), halves, tmp_path / "0.9")


def test_pairs_of_one_person_are_drawn_together(halves, tmp_path):
    def apart(weight):
        network = train(task_config(consistency=weight, epochs=4), halves, tmp_path / str(weight))[0]
        [predicted] = probabilities(network, HEADS, halves.pixels[:48], normalise_of(network), "cpu")
        same = (halves.person_ids[:48, None] == halves.person_ids[None, :48]) & (
            halves.codes[:48] == halves.codes[:48].T
        )
        return np.abs(predicted[:, None, 0] - predicted[None, :, 0])[same].mean()

    assert apart(100.0) < apart(0.01) / 2


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"consistency": 1.0, "batch": 7}, "even"),
        ({"cutmix": 0.6, "mixup": 0.5}, "more than 1"),
        ({"freeze": True, "mixup": 0.5}, "belong to steps"),
        ({"freeze": True, "probe": True}, "probe adds nothing"),
    ],
)
def test_settings_that_do_not_fit_are_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        task_config(**keys)


def test_the_seed_decides_the_weights(halves, tmp_path):
    runs = [train(task_config(epochs=1), halves, tmp_path / str(i), seed=i // 2)[0].state_dict() for i in range(3)]
    assert same_weights(runs[0], runs[1])
    assert not same_weights(runs[0], runs[2])


@pytest.mark.parametrize(
    "train_keys", [{"optimiser": "sgd"}, {"schedule": "step", "step_epochs": 1}, {"precision": "bf16"}]
)
def test_other_optimisers_schedules_and_precisions_train_too(halves, tmp_path, train_keys):
    _, history = train(task_config(epochs=2, **train_keys), halves, tmp_path)
    assert len(history) == 2
    if train_keys.get("schedule") == "step":
        assert history[1]["lr"] == pytest.approx(history[0]["lr"] / 2)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.filterwarnings("ignore")  # torch's own warnings, while it compiles
def test_a_compiled_training_learns_the_same(halves, tmp_path):
    _, history = train(task_config(dropout=0), halves, tmp_path / "plain")
    _, compiled = train(task_config(dropout=0, compile=True), halves, tmp_path / "compiled")
    assert [line["train_loss"] for line in compiled] == pytest.approx(
        [line["train_loss"] for line in history], rel=0.02
    )


@pytest.mark.filterwarnings("ignore")  # torch's own warnings, while it compiles
def test_each_network_is_compiled_also_after_many_others(halves, monkeypatch):
    original, compiled = torch.compile, []

    def count(graph, _):
        compiled.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda forward, **options: original(forward, backend=count, **options))
    monkeypatch.setattr("torch._dynamo.config.recompile_limit", 1)
    for size in [(32, 24), (40, 32)]:
        Trainer(plan(task_config(compile=True, batch=48, size=size)), halves, 0, CPU).run_epoch(0)
    assert len(compiled) == 2


@pytest.mark.parametrize("head", [{}, {"kind": "coral"}, {"kind": "years", "spread": 2.0, "bins_loss": 1.0}])
def test_no_step_waits_for_a_gpu(head):
    years = Task("age", ("young", "old"), (30,), 18, 60)
    config = TaskConfig.model_validate(
        {
            "classes": years.classes, "edges": years.edges, "range": (18, 60), "head": head,
            "model": {"backbone": TINY, "pretrained": False, "input": (32, 24), "dropout": 0.2},
            "train": {"epochs": 2, "batch": 8, "ema": 0.9, "mixup": 0.5, "clip_norm": 1.0, "consistency": 1.0,
                      "optimiser": "sgd"},
        }
    )  # fmt: skip
    codes, ages = np.arange(16)[:, None] % 2, np.where(np.arange(16) % 2, 40.0, 20.0)[:, None]
    pixels, people = np.zeros((16, 32, 24, 3), np.uint8), np.arange(16) // 4
    data = NetworkData(pixels, codes, ages, codes >= 0, codes, np.arange(16), np.arange(0), person_ids=people)
    trainer = Trainer(plan(config, years), data, 0, CPU)
    trainer.run_epoch(0)
    with OperationsThatWait() as operations:
        trainer.run_epoch(1)
    of_a_step = ["lift_fresh", "lift_fresh", "lift_fresh", "nonzero"]  # on the CPU: images, targets, the mask of pairs
    assert Counter(operations.waited) == Counter([*2 * of_a_step, "_local_scalar_dense"])  # the loss of the epoch


def test_too_little_gpu_memory_is_told_in_words(halves, tmp_path, monkeypatch):
    def fail(*_):
        raise torch.cuda.OutOfMemoryError("no memory")

    monkeypatch.setattr(Trainer, "run_epoch", fail)
    with pytest.raises(UsageError, match=r"batches of 8 photos of 32x24 .*\n.*--set train\.batch=4"):
        train(task_config(), halves, tmp_path)


def test_an_optimiser_is_restored_where_its_parameters_are_and_counts_steps_on_the_cpu():
    def optimiser(device):
        return torch.optim.AdamW([torch.nn.Parameter(torch.ones(2, device=device))])

    saved, restored = optimiser("cpu"), optimiser("meta")
    saved.param_groups[0]["params"][0].grad = torch.ones(2)
    saved.step()
    restore_optimiser(restored, *optimiser_tensors(saved))
    [state] = restored.state.values()
    assert (state["exp_avg"].device.type, state["step"].device.type) == ("meta", "cpu")


def test_a_sum_of_weights_is_restored_where_the_network_is():
    average = WeightAverage(torch.nn.Linear(2, 1, device="meta"), last=2, epochs=4)
    average.restore({"weight": torch.ones(1, 2).double()}, torch.nn.Linear(2, 1, device="meta"), epochs_done=3)
    assert average.tensors()["weight"].device.type == "meta"


def test_without_held_out_photos_the_last_weights_are_kept_and_no_score_is_claimed(halves, tmp_path):
    everything = network_data(halves.pixels, halves.codes, np.arange(64), np.arange(0))
    _, history = train(task_config(epochs=2), everything, tmp_path)
    assert "macro_f1" not in history[-1]
    assert json.loads((tmp_path / "best.json").read_text())["lines"][0]["epoch"] == 2


def test_going_on_with_other_settings_is_refused(halves, tmp_path):
    train(task_config(epochs=1), halves, tmp_path)
    with pytest.raises(BundleError, match="other settings or other photos"):
        train(task_config(epochs=2), halves, tmp_path)


def test_going_on_after_another_version_is_refused_unless_the_training_is_finished(halves, tmp_path, monkeypatch):
    def kill(_):
        raise Killed

    with pytest.raises(Killed), monkeypatch.context() as before:
        before.setattr("classify.training.optimisation.RECIPE", 1)
        train(task_config(epochs=2), halves, tmp_path / "begun", on_epoch_end=kill)
    with pytest.raises(BundleError, match="begun by another version"):
        train(task_config(epochs=2), halves, tmp_path / "begun")
    with monkeypatch.context() as before:
        before.setattr("classify.training.optimisation.RECIPE", 1)
        network, history = train(task_config(epochs=1), halves, tmp_path / "finished")
    again, same_history = train(task_config(epochs=1), halves, tmp_path / "finished")
    assert same_history == history
    assert same_weights(network.state_dict(), again.state_dict())


def test_going_on_with_other_photos_under_the_same_labels_is_refused(halves, tmp_path):
    ours, others = replace(halves, sources_digest="a"), replace(halves, sources_digest="b")
    train(task_config(epochs=1), ours, tmp_path)
    with pytest.raises(BundleError, match="other settings or other photos"):
        train(task_config(epochs=1), others, tmp_path)


def test_a_checkpoint_from_before_sources_counted_is_continued(halves, tmp_path):
    config, data = task_config(epochs=1), replace(halves, sources_digest="a")
    network, _ = train(config, data, tmp_path)
    tensors, values = load_checkpoint(tmp_path / "last.safetensors")
    values["identity"] = Trainer(plan(config), data, 0, CPU)._identity_before
    save_checkpoint(tmp_path / "last.safetensors", tensors, values)
    continued, _ = train(config, data, tmp_path)
    assert same_weights(network.state_dict(), continued.state_dict())


def test_a_damaged_checkpoint_is_named(halves, tmp_path):
    train(task_config(epochs=1), halves, tmp_path)
    path = tmp_path / "last.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BundleError, match=r"last\.safetensors is damaged"):
        train(task_config(epochs=1), halves, tmp_path)


def test_a_loss_that_explodes_stops_with_the_setting_to_change(halves, tmp_path):
    with pytest.raises(UsageError, match=r"train\.lr"):
        train(task_config(optimiser="sgd", lr=10.0, head_lr_scale=1000, epochs=3), halves, tmp_path)


def test_the_best_network_loads_without_anything_but_its_folder(halves, tmp_path):
    config = task_config(epochs=1)
    network, _ = train(config, halves, tmp_path)
    assert same_weights(network.state_dict(), load_best(plan(config), tmp_path).state_dict())
