import json

import numpy as np
import pytest

from cache.errors import BundleError
from classify.config import ModelConfig, TaskConfig
from classify.inference.bundle import Bundle, load_bundle, save_bundle, trained_network
from classify.models.backbones import build_network
from classify.models.plan import plan_networks
from classify.tasks import Task

MODEL = ModelConfig(backbone="test_resnet", pretrained=False, input=(32, 24))
AGE = Task("age", ("<30", "30-59", ">=60"), (30, 60), 0, 120)
SMILE = Task("smile", ("no", "yes"))
PLANS = plan_networks(
    {
        "age": TaskConfig(classes=AGE.classes, edges=AGE.edges, model=MODEL),
        "smile": TaskConfig(classes=SMILE.classes, model=MODEL),
    }
)


def test_a_bundle_of_the_first_format_is_read(folder):
    before = load_bundle(folder)
    described = json.loads((folder / "bundle.json").read_text())
    described["format"] = 1
    del described["verdicts"]
    for facts in described["models"].values():
        for key in ("tells", "heads", "joint"):
            del facts[key]
        del facts["model"]["sharing"]
    (folder / "bundle.json").write_text(json.dumps(described))
    bundle = load_bundle(folder)
    assert bundle.tasks == before.tasks
    assert [one.plan.tasks for one in bundle.networks] == [(AGE,), (SMILE,)]
    assert bundle.decision_rule("age").answers(np.array([[0.2, 0.5, 0.3]])).tolist() == [1]


@pytest.mark.parametrize(("key", "value"), [("tells", ["aeg"]), ("heads", [])])
def test_a_network_that_tells_what_is_no_task_is_a_misstatement(folder, key, value):
    described = json.loads((folder / "bundle.json").read_text())
    described["models"]["age"][key] = value
    (folder / "bundle.json").write_text(json.dumps(described))
    with pytest.raises(BundleError, match="lacks or misstates"):
        load_bundle(folder)


@pytest.fixture
def folder(tmp_path):
    networks = tuple(
        trained_network(plan, plan.name, build_network(MODEL, plan.heads.outputs, pretrained=False)) for plan in PLANS
    )
    save_bundle(
        tmp_path / "bundle",
        Bundle((AGE, SMILE), networks, {"crop": {"margin": 0.5}}, {"joint": {"macro_f1": 0.5}}, 3, True),
    )
    return tmp_path / "bundle"


def test_a_bundle_comes_back_as_it_was_saved(folder):
    bundle = load_bundle(folder)
    assert bundle.tasks == (AGE, SMILE)
    assert bundle.networks[0].model == MODEL
    assert bundle.most_frequent == 3
    assert bundle.flip
    assert not bundle.networks[0].network.training


def change(folder, **keys):
    path = folder / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda f: (f / "bundle.json").unlink(), "no bundle"),
        (lambda f: (f / "bundle.json").write_text("{"), "can't be read"),
        (lambda f: (f / "bundle.json").write_text("[]"), "not the description"),
        (lambda f: (f / "age.safetensors").unlink(), r"age\.safetensors is missing"),
        (lambda f: (f / "smile.safetensors").write_bytes(b"x"), r"smile\.safetensors .* sha256"),
        (lambda f: change(f, format=99), "newer faceline"),
        (lambda f: change(f, models={}), "lacks or misstates"),
        (lambda f: change(f, tasks={"age": {}}), "lacks or misstates"),
    ],
)
def test_a_damaged_or_newer_bundle_is_refused_with_what_is_wrong(folder, harm, said):
    harm(folder)
    with pytest.raises(BundleError, match=said):
        load_bundle(folder)


def test_a_bundle_cannot_point_outside_its_folder(folder):
    models = json.loads((folder / "bundle.json").read_text())["models"]
    models["age"]["file"] = "../age.safetensors"
    change(folder, models=models)
    (folder.parent / "age.safetensors").write_bytes((folder / "age.safetensors").read_bytes())
    with pytest.raises(BundleError, match="missing"):
        load_bundle(folder)
