"""Every file in examples/ is valid, and trains for a few steps with a tiny network in its place."""

from pathlib import Path

import pytest

from classify.models.network_plan import plan_networks
from classify.training.network_trial import refuse_unusable_network
from pipeline.settings import load_settings
from tests.pipeline.conftest import faceline

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("preset", EXAMPLES, ids=lambda path: path.stem)
def test_a_preset_trains_and_predicts_with_a_tiny_network_in_its_place(preset, drawn, shared_cache, tmp_path):
    tiny = ["model.backbone=test_resnet", "model.pretrained=false", "train.epochs=1"]
    for kind in load_settings(preset).ensemble:
        tiny += [f"ensemble.{kind}.model.backbone=test_resnet", f"ensemble.{kind}.model.input=[64,48]"]
    words = ["--config", preset, "--out", tmp_path / "run", "--cache", shared_cache, "--device", "cpu", "--quiet"]
    faceline("run", drawn, *words, *(word for setting in tiny for word in ("--set", setting)))
    assert (tmp_path / "run" / "submission.csv").read_text().count("\n") == 43


@pytest.mark.parametrize("preset", EXAMPLES, ids=lambda path: path.stem)
def test_a_presets_networks_take_its_inputs(preset):
    for configs in load_settings(preset, ["model.pretrained=false"]).task_configs.values():
        for plan in plan_networks(configs):
            refuse_unusable_network(plan)


def test_a_kind_of_network_can_be_left_out_of_a_preset():
    best_gpu = next(path for path in EXAMPLES if path.stem == "best-gpu")
    assert list(load_settings(best_gpu).ensemble) == ["convnext", "faces"]
    assert list(load_settings(best_gpu, ["ensemble.faces=null"]).ensemble) == ["convnext"]


def test_the_seed_teams_preset_is_their_recipe():
    settings = load_settings(next(path for path in EXAMPLES if path.stem == "boostcamp"))
    tasks = settings.tasks
    assert [tasks[name].model.backbone for name in tasks] == ["efficientnet_b0", "efficientnet_b3", "resnet152"]
    assert {task.train.loss for task in tasks.values()} == {"f1"}
    assert [task.model.input for task in tasks.values()] == [(256, 192), (300, 225), (256, 192)]
    [scarves] = tasks["mask"].augment.groups
    assert (scarves.multiplier, len(scarves.copies)) == (10, 9)
    multipliers = {name: [c.multiplier for c in task.augment.classes.values()] for name, task in tasks.items()}
    assert multipliers == {"mask": [2, 10, 10], "gender": [8, 4], "age": [1, 2, 6]}
    assert tasks["age"].drop == ((55, 59),)
    for task in tasks.values():
        assert all(len(c.copies) == c.multiplier - 1 for c in task.augment.classes.values())


def test_the_records_preset_drops_the_ages_next_to_the_borders():
    settings = load_settings(next(path for path in EXAMPLES if path.stem == "record"))
    assert settings.tasks["age"].drop == ((27, 29), (57, 59))
    assert {task.model.backbone for task in settings.tasks.values()} == {"efficientnet_b4"}
    assert {task.train.cutmix for task in settings.tasks.values()} == {0.3}
    [network] = plan_networks(settings.tasks)
    assert network.heads.outputs == 18
