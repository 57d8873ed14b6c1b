"""Weights from a file, from a repository of the hub, and through a proxy; hub and proxy are the test's own."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file

from cache.errors import BundleError, UsageError
from classify.config import ModelConfig, TaskConfig
from classify.inference.bundle import Bundle, load_bundle, save_bundle, trained_network
from classify.models import pretrained_weights
from classify.models.backbones import build_network, features_of, head_of
from classify.models.network_plan import plan_networks
from classify.models.pretrained_weights import go_offline_without_hub, weights_digest
from classify.training.network_trial import refuse_unusable_network

IMAGES = torch.randn(2, 3, 64, 48, generator=torch.manual_seed(0))


def config(**more):
    return ModelConfig.model_validate({"backbone": "test_resnet", "input": [64, 48], **more})


@pytest.fixture(scope="module")
def trained():
    """A network with ten classes, as somebody else has trained it."""
    return timm.create_model("test_resnet", num_classes=10).eval()


@pytest.fixture(params=["w.safetensors", "w.pth", "checkpoint.bin"])
def file(request, trained, tmp_path) -> Path:
    state = trained.state_dict()
    if request.param == "w.safetensors":
        save_file(state, tmp_path / request.param)
    else:
        nested = {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}
        torch.save(nested if request.param == "checkpoint.bin" else state, tmp_path / request.param)
    return tmp_path / request.param


@pytest.mark.parametrize("pretrained", [True, False])
def test_the_weights_of_a_file_are_used_in_all_layers_but_the_last(file, trained, pretrained):
    network = build_network(config(weights=file, pretrained=pretrained), 3, pretrained=True).eval()
    assert torch.allclose(features_of(network, IMAGES), features_of(trained, IMAGES), atol=1e-5)
    assert head_of(network).weight.shape == (3, head_of(trained).in_features)
    random = build_network(config(weights=file), 3, pretrained=False).eval()  # a checkpoint follows
    assert not torch.allclose(features_of(random, IMAGES), features_of(trained, IMAGES), atol=1e-5)


def test_a_transformers_positions_are_adapted_to_the_input_size(tmp_path):
    save_file(timm.create_model("test_vit", num_classes=5).state_dict(), tmp_path / "vit.safetensors")
    network = build_network(config(backbone="test_vit", weights=tmp_path / "vit.safetensors"), 3, pretrained=True)
    assert network(IMAGES).shape == (2, 3)


def test_a_leading_tilde_is_the_home_folder(file, monkeypatch):
    monkeypatch.setenv("HOME", str(file.parent))
    build_network(config(weights=f"~/{file.name}"), 3, pretrained=True)
    assert weights_digest(Path(f"~/{file.name}")) == weights_digest(file)


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("none.pth", None, UsageError, "model.weights: there is no file .*none.pth"),
        ("text.safetensors", b"not weights", BundleError, "can't be read as the weights of test_resnet"),
        ("text.pth", b"not weights", BundleError, "can't be read as the weights of test_resnet"),
        ("code.pth", {"f": print}, BundleError, "holds nothing but tensors"),
        ("list.pth", [1, 2], BundleError, "can't be read as the weights"),
        (
            "other.pth",
            {"conv1.0.weight": torch.zeros(2, 3, 3, 3)},
            BundleError,
            r"does not fit test_resnet: conv1.0.weight is \(2, 3, 3, 3\) in the file, and \(\d+, 3, 3, 3\) in the "
            r"network, and \d+ others differ; set model.backbone",
        ),
        ("empty.pth", {}, BundleError, r"the file has no conv1.0.weight, and \(\d+, 3, 3, 3\) in the network"),
    ],
)
def test_a_file_that_is_no_weights_of_the_network_is_refused_in_one_sentence(name, content, error, said, tmp_path):
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        torch.save(content, tmp_path / name)
    with pytest.raises(error, match=said) as refusal:
        build_network(config(weights=tmp_path / name), 3, pretrained=True)
    assert "\n" not in str(refusal.value)


def plan_of(model):
    [plan] = plan_networks({"mask": TaskConfig(classes=("a", "b", "c"), model=model)})
    return plan


def test_a_wrong_file_is_refused_before_a_photo_is_read(tmp_path):
    torch.save({}, tmp_path / "empty.pth")
    with pytest.raises(BundleError, match="does not fit"):
        refuse_unusable_network(plan_of(config(weights=tmp_path / "empty.pth")))


def test_settings_without_weights_are_written_as_before_there_were_any(tmp_path):
    assert "weights" not in config().model_dump(mode="json")
    assert config(weights=tmp_path).model_dump(mode="json")["weights"] == str(tmp_path)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub with the repository someone/faces, whose model is test_resnet with other mean, and weights."""
    network = timm.create_model("test_resnet", num_classes=7).eval()
    about = {**network.pretrained_cfg, "mean": [0.1, 0.2, 0.3], "num_classes": 7}
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "config.json").write_text(
        json.dumps({"architecture": "test_resnet", "num_classes": 7, "pretrained_cfg": about})
    )
    save_file(network.state_dict(), tmp_path / "hub" / "model.safetensors")

    def download(repo_id, filename, **_):
        assert repo_id.startswith("someone/faces"), repo_id
        if not (tmp_path / "hub" / filename).is_file():
            raise FileNotFoundError(filename)
        return str(tmp_path / "hub" / filename)

    monkeypatch.setattr("timm.models._hub.hf_hub_download", download)
    monkeypatch.setattr("classify.models.pretrained_weights.go_offline_without_hub", lambda: None)
    monkeypatch.setattr("classify.models.backbones.go_offline_without_hub", lambda: None)
    pretrained_weights.hub_config.cache_clear()
    yield network
    pretrained_weights.hub_config.cache_clear()


@pytest.mark.parametrize("prefix", ["hf-hub:", "hf_hub:"])
def test_a_repository_of_the_hub_names_a_network_which_its_bundle_keeps_without_the_hub(
    prefix, hub, tmp_path, monkeypatch
):
    plan = plan_of(config(backbone=f"{prefix}someone/faces"))
    refuse_unusable_network(plan)
    network = build_network(plan.model, 3, pretrained=True).eval()
    assert torch.allclose(features_of(network, IMAGES), features_of(hub, IMAGES), atol=1e-5)
    trained = trained_network(plan, "mask", build_network(plan.model, 3, pretrained=False).eval())
    assert trained.normalise.mean == (0.1, 0.2, 0.3)
    save_bundle(tmp_path / "bundle", Bundle(plan.tasks, (trained,), {}, {}, 0, flip=False))

    monkeypatch.setattr("timm.models._hub.hf_hub_download", lambda *_, **__: pytest.fail("the hub was asked"))
    pretrained_weights.hub_config.cache_clear()
    [loaded] = load_bundle(tmp_path / "bundle").networks
    assert torch.allclose(loaded.network(IMAGES), trained.network(IMAGES), atol=1e-5)


@pytest.mark.parametrize("broken", ["absent", "foreign"])
def test_a_repository_that_is_not_of_a_timm_model_is_refused(broken, hub, tmp_path):
    (tmp_path / "hub" / "config.json").unlink()
    if broken == "foreign":
        (tmp_path / "hub" / "config.json").write_text('{"architecture": "BertModel", "pretrained_cfg": {}}')
    with pytest.raises(BundleError, match="hf-hub:someone/faces can't be read from the hub"):
        build_network(config(backbone="hf-hub:someone/faces"), 3, pretrained=False)


def test_a_bundle_records_the_sha256_of_the_file_that_its_network_started_from(tmp_path, trained):
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    plan = plan_of(config(weights=tmp_path / "w.safetensors"))
    network = trained_network(plan, "mask", build_network(plan.model, 3, pretrained=False).eval())
    save_bundle(tmp_path / "bundle", Bundle(plan.tasks, (network,), {}, {}, 0, flip=False))
    described = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert described["models"]["mask"]["weights_sha256"] == weights_digest(tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").unlink()
    load_bundle(tmp_path / "bundle")


@pytest.fixture
def proxy(monkeypatch):
    """A proxy that answers every request itself; yields what it was asked for."""
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(f"{self.command} {self.path}")
            self.send_response(200)
            self.end_headers()

        def do_CONNECT(self):
            asked.append(f"{self.command} {self.path}")
            self.send_error(502)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    close = getattr(huggingface_hub, "close_session", lambda: None)
    close()  # a session reads the environment when it is opened
    yield asked
    close()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("endpoint", "request_line", "is_offline"),
    [
        ("http://hub.invalid", "HEAD http://hub.invalid/", False),
        ("https://hub.invalid", "CONNECT hub.invalid:443", True),  # this proxy refuses to connect
    ],
)
def test_the_hub_is_asked_through_the_proxy(proxy, monkeypatch, endpoint, request_line, is_offline):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    go_offline_without_hub()
    assert proxy == [request_line]
    assert huggingface_hub.constants.HF_HUB_OFFLINE is is_offline
