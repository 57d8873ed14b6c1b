"""Backbones that have learned from faces; dlib itself says what its network must compute."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import cv2
import numpy as np
import pytest
import torch
from facenet_pytorch import InceptionResnetV1

from cache.errors import BundleError, UsageError
from classify.config import ModelConfig
from classify.models import face_dlib, face_facenet
from classify.models.backbones import build_network, features_of, head_of, normalise_of, tie_rows
from classify.models.batch_statistics import measure_statistics
from classify.training.loop import ComputeSetup, train_network
from classify.training.network_trial import refuse_unusable_network
from tests.classify.conftest import network_data, plan, task_config

FACES = pytest.mark.skipif(face_dlib.find_weights() is None, reason="needs the extra `faces`")


def config(**more):
    return ModelConfig.model_validate({"backbone": "face_dlib", "input": [150, 112], "dropout": 0, **more})


def pictures(count, height=150, width=150):
    """Blurred noise from black to white: each is another picture, and none is flat."""
    rng = np.random.default_rng(0)
    noise = [cv2.GaussianBlur(rng.random((height, width, 3)), (0, 0), 5) for _ in range(count)]
    return np.stack([cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX) for image in noise]).astype(np.uint8)


@FACES
def test_it_computes_what_dlib_computes():
    dlib = pytest.importorskip("dlib", reason="dlib-bin is what the network is compared with")
    file, faces = face_dlib.find_weights(), pictures(2)
    network = face_dlib.FaceDlib(2).eval()
    last_layer = face_dlib.load_weights(network, file)
    oracle = dlib.face_recognition_model_v1(str(file))
    with torch.no_grad():
        stages = network.forward_stages(normalise_of(network)(torch.from_numpy(faces)))
    descriptors = stages[-1].mean(dim=(2, 3)) @ last_layer
    for face, descriptor in zip(faces, descriptors, strict=True):
        assert np.abs(descriptor.numpy() - np.array(oracle.compute_face_descriptor(face))).max() < 1e-5


@FACES
@pytest.mark.parametrize("size", [(128, 96), (150, 112), (150, 150), (192, 144)])
def test_it_is_a_backbone_for_any_task_and_input_size(size):
    network = build_network(config(input=size), 5, pretrained=True).eval()
    images = torch.zeros(2, 3, *size)
    assert network(images).shape == (2, 5)
    assert features_of(network, images).shape == (2, 704)
    assert torch.allclose(head_of(network)(features_of(network, images)), network(images), atol=1e-5)
    tie_rows(network, [slice(2, 5)])
    refuse_unusable_network(plan(task_config("face_dlib", size=size)))


@FACES
def test_its_weights_are_dlibs_only_where_the_settings_say_so(monkeypatch, tmp_path):
    published = face_dlib.FaceDlib(2)
    face_dlib.load_weights(published, face_dlib.find_weights())
    file = tmp_path / "copy.dat"
    file.symlink_to(face_dlib.find_weights())
    state = tmp_path / "network.pth"
    torch.save(published.state_dict(), state)
    monkeypatch.setattr(face_dlib, "find_weights", lambda: None)  # as without the package

    def starts_as_published(settings, **more):
        return torch.equal(build_network(settings, 3, **more).conv.weight, published.conv.weight)

    assert starts_as_published(config(weights=file), pretrained=True)
    assert starts_as_published(config(weights=state), pretrained=True)
    assert not starts_as_published(config(pretrained=False), pretrained=True)
    assert not starts_as_published(config(), pretrained=False), "a checkpoint follows"
    with pytest.raises(BundleError, match=r"'faceline\[faces\]', or name .*\.dat with --set model\.weights"):
        build_network(config(), 3, pretrained=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone": "face_dlip"}, r"The nearest names are face_dlib.* All: timm.list_models\(\) and face_dlib"),
        ({"drop_path": 0.1}, r"^model\.drop_path: face_dlib has no stochastic depth"),
        ({"input": (48, 48)}, r"^model\.input: face_dlib can't take inputs of 48x48 .* It was made for 150x150"),
    ],
)
def test_settings_that_do_not_apply_are_refused_in_one_sentence(settings, message):
    task = task_config("face_dlib", size=(150, 112))
    model = task.model.model_copy(update=settings)
    with pytest.raises(UsageError, match=message) as refusal:
        refuse_unusable_network(plan(task.model_copy(update={"model": model})))
    assert "\n" not in str(refusal.value)


def test_missing_weights_are_refused_before_a_photo_is_read(monkeypatch):
    monkeypatch.setattr(face_dlib, "find_weights", lambda: None)
    task = task_config("face_dlib", size=(150, 112))
    model = task.model.model_copy(update={"pretrained": True})
    with pytest.raises(BundleError, match="the weights of face_dlib are not installed"):
        refuse_unusable_network(plan(task.model_copy(update={"model": model})))


def test_a_file_that_is_not_dlibs_is_refused(tmp_path):
    (tmp_path / "other.dat").write_bytes(b"no network")
    with pytest.raises(BundleError, match=r"other\.dat does not hold dlib's face network"):
        build_network(config(weights=tmp_path / "other.dat"), 3, pretrained=True)


@FACES
def test_measured_statistics_change_nothing_that_is_computed():
    faces = pictures(6, 128, 96)
    network = build_network(config(), 2, pretrained=True).eval()
    images = normalise_of(network)(torch.from_numpy(faces))
    with torch.no_grad():
        before = network.forward_features(images)
        measure_statistics(network, normalise_of(network), faces, np.arange(6), "cpu")
        assert torch.allclose(network.forward_features(images), before, rtol=1e-3, atol=1e-5)
        # In training mode each batch is standardised by its own statistics, which here are those of all photos.
        assert torch.allclose(network.train().forward_features(images), before, rtol=1e-2, atol=1e-4)
        features = network.eval().forward_head(before, pre_logits=True)
    assert features.mean(dim=0).abs().max() < 1e-2
    assert features.std(dim=0, correction=0)[before.std(dim=0) > 0.01] == pytest.approx(1, abs=0.1)


@FACES
def test_two_epochs_at_the_default_rate_do_not_collapse(tmp_path):
    codes = np.arange(48) % 2
    pixels = pictures(48, 96, 80) // 2
    for image, code in zip(pixels, codes, strict=True):
        image[48 * code : 48 * code + 48] += 60
    data = network_data(pixels, codes, np.arange(32), np.arange(32, 48))
    task = task_config("face_dlib", size=(96, 80), epochs=2, lr=5e-4, head_lr_scale=10)
    model = task.model.model_copy(update={"pretrained": True})
    histories = []
    train_network(
        plan(task.model_copy(update={"model": model})), data, tmp_path, seed=0, compute=ComputeSetup("cpu"),
        on_epoch_end=histories.append,
    )  # fmt: skip
    assert histories[-1][-1]["accuracy"] == 1, histories[-1]


@pytest.fixture
def facenet(tmp_path, monkeypatch):
    """facenet-pytorch's network with its classes, as its publisher has the files, and the folder of its downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(0)
    network = InceptionResnetV1(classify=True, num_classes=7)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
    torch.save(network.state_dict(), tmp_path / "published.pt")
    network.classify = False
    return network.eval()


@pytest.fixture
def release(tmp_path, monkeypatch):
    """A server with the published files; yields the answers that it gives, by name."""
    answers = {}

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            content = answers.get(self.path[1:])
            self.send_response(200 if content else 404)
            self.send_header("Content-Length", str(int(answers.get("length", len(content or b"")))))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(face_facenet, "RELEASE", f"http://127.0.0.1:{server.server_port}/")
    yield answers
    server.shutdown()
    server.server_close()


def facenet_config(**more):
    return ModelConfig.model_validate({"backbone": "face_vggface2", "input": [96, 80], "dropout": 0, **more})


@pytest.mark.parametrize("source", ["file", "release"])
def test_facenets_features_are_those_that_its_embedding_is_made_of(source, facenet, release, tmp_path):
    file = tmp_path / "published.pt"
    release["20180402-114759-vggface2.pt"] = file.read_bytes()
    network = build_network(facenet_config(weights=file if source == "file" else None), 3, pretrained=True).eval()
    images = normalise_of(network)(torch.from_numpy(pictures(2, 96, 80)))
    with torch.no_grad():
        features = features_of(network, images)
        embedding = torch.nn.functional.normalize(facenet.last_bn(facenet.last_linear(features)))
        assert torch.allclose(embedding, facenet(images), atol=1e-5)
        assert torch.allclose(head_of(network)(features), network(images), atol=1e-5)
    assert {module.eps for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)} == {0.001}
    if source == "release":
        release.clear()  # the second time, the file is there
        build_network(facenet_config(), 3, pretrained=True)


def test_facenets_pixels_are_normalised_as_its_publisher_does():
    network = build_network(facenet_config(), 3, pretrained=False)
    images = normalise_of(network)(torch.tensor([[[[0, 127.5, 255]]]]))
    assert images.flatten().tolist() == pytest.approx([-127.5 / 128, 0, 127.5 / 128])


@pytest.mark.parametrize("size", [(128, 96), (150, 150), (192, 144)])
def test_facenet_takes_inputs_of_other_sizes(size):
    refuse_unusable_network(plan(task_config("face_casia", size=size)))


def test_facenet_refuses_inputs_that_are_too_small():
    with pytest.raises(UsageError, match=r"^model\.input: face_casia can't take inputs of 64x48 .* made for 160x160"):
        refuse_unusable_network(plan(task_config("face_casia", size=(64, 48))))


@pytest.mark.parametrize("failure", ["no server", "no file", "half a file"])
def test_weights_that_can_not_be_downloaded_are_refused_with_the_ways_out(
    failure, facenet, release, tmp_path, monkeypatch
):
    if failure == "no server":
        monkeypatch.setattr(face_facenet, "RELEASE", "http://127.0.0.1:1/")
    if failure == "half a file":
        release |= {"20180402-114759-vggface2.pt": b"half", "length": 8}
        monkeypatch.setattr(face_facenet, "TIMEOUT_S", 0.5)
    ways = r"face_vggface2 can't be downloaded .* HTTPS_PROXY\. .* model\.weights=FILE, .* model\.backbone=face_dlib"
    with pytest.raises(BundleError, match=ways) as refusal:
        build_network(facenet_config(), 3, pretrained=True)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "checkpoints").exists()
    build_network(facenet_config(pretrained=False), 3, pretrained=True)


@pytest.mark.parametrize("content", [b"not weights", {"f": print}])
def test_a_damaged_download_is_refused_and_code_in_it_is_not_run(content, facenet, release, tmp_path):
    torch.save(content, tmp_path / "other.pt")
    release["20180402-114759-vggface2.pt"] = (tmp_path / "other.pt").read_bytes()
    with pytest.raises(BundleError, match=r"can't be read as the weights of face_vggface2 .* delete it, and"):
        build_network(facenet_config(), 3, pretrained=True)
