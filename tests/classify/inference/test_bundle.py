import json
from dataclasses import replace

import numpy as np
import pytest

from cache.errors import BundleError
from classify.config import ModelConfig, TaskConfig
from classify.inference.bundle import Bundle, load_bundle, save_bundle, trained_network
from classify.inference.decision import DecisionRule
from classify.models.backbones import build_network
from classify.models.network_plan import plan_networks
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
    del described["decision_rules"]
    for entry in described["models"].values():
        for key in ("tasks", "heads", "joint"):
            del entry[key]
        del entry["model"]["sharing"]
    (folder / "bundle.json").write_text(json.dumps(described))
    bundle = load_bundle(folder)
    assert bundle.tasks == before.tasks
    assert [trained.plan.tasks for trained in bundle.networks] == [(AGE,), (SMILE,)]
    assert bundle.decision_rule("age").answers(np.array([[0.2, 0.5, 0.3]])).tolist() == [1]


def test_a_bundle_of_the_second_format_is_read(folder):
    rule = DecisionRule(1.5, (1.0, 0.5, 0.25), 0.6)
    save_bundle(folder, replace(load_bundle(folder), decision_rules={"age": rule}))
    before = load_bundle(folder)
    described = json.loads((folder / "bundle.json").read_text())
    described["format"] = 2
    described["verdicts"] = described.pop("decision_rules")
    for entry in described["models"].values():
        entry["tells"] = entry.pop("tasks")
    (folder / "bundle.json").write_text(json.dumps(described))
    bundle = load_bundle(folder)
    assert bundle.decision_rules == before.decision_rules
    assert bundle.decision_rule("age").temperature == rule.temperature
    assert [trained.plan for trained in bundle.networks] == [trained.plan for trained in before.networks]


def test_means_of_the_networks_that_held_a_person_out_have_a_temperature_of_their_own(folder):
    rules = {"age": DecisionRule(2.0), "smile": DecisionRule(2.0)}
    changed = replace(load_bundle(folder), decision_rules=rules, held_out_temperatures={"age": 4.0}, decide="f1")
    save_bundle(folder, changed)
    bundle = load_bundle(folder)
    assert bundle.decide == "f1"
    mean = np.array([[0.64, 0.32, 0.04], [0.64, 0.32, 0.04]], np.float32)
    is_held_out = np.array([False, True])
    by_all, by_few = bundle.calibrated("age", mean, is_held_out)
    assert by_all == pytest.approx(DecisionRule(2.0).calibrated(mean)[0])
    assert by_few == pytest.approx(DecisionRule(4.0).calibrated(mean)[0])
    smile = bundle.calibrated("smile", mean, is_held_out)
    assert smile[1] == pytest.approx(smile[0]), "without one, that of all"


@pytest.mark.parametrize(("top", "outputs"), [(60, 61), (None, 121), ("auto", 121)])
def test_a_bundle_keeps_the_open_end_that_its_outputs_have(tmp_path, top, outputs):
    head = {"kind": "years", "spread": 2.5, "top": top}
    [plan] = plan_networks({"age": TaskConfig(classes=AGE.classes, edges=AGE.edges, model=MODEL, head=head)})
    network = build_network(MODEL, plan.heads.outputs, pretrained=False)
    save_bundle(tmp_path, Bundle((AGE,), (trained_network(plan, "age", network),), {}, {}, 0, False))
    described = json.loads((tmp_path / "bundle.json").read_text())
    [kept] = described["models"]["age"]["heads"]
    assert kept["top"] == (None if top == "auto" else top)
    assert load_bundle(tmp_path).networks[0].heads.outputs == outputs
    if top is None:
        del kept["top"]  # as the first bundles have it
        (tmp_path / "bundle.json").write_text(json.dumps(described))
        assert load_bundle(tmp_path).networks[0].plan.configs[0].head.top is None
        assert load_bundle(tmp_path).networks[0].heads.outputs == outputs


@pytest.mark.parametrize(("key", "value"), [("tasks", ["aeg"]), ("heads", [])])
def test_a_network_that_predicts_what_is_no_task_is_a_misstatement(folder, key, value):
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
    ("harm", "message"),
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
def test_a_damaged_or_newer_bundle_is_refused_with_what_is_wrong(folder, harm, message):
    harm(folder)
    with pytest.raises(BundleError, match=message):
        load_bundle(folder)


def test_a_bundle_cannot_point_outside_its_folder(folder):
    models = json.loads((folder / "bundle.json").read_text())["models"]
    models["age"]["file"] = "../age.safetensors"
    change(folder, models=models)
    (folder.parent / "age.safetensors").write_bytes((folder / "age.safetensors").read_bytes())
    with pytest.raises(BundleError, match="missing"):
        load_bundle(folder)
