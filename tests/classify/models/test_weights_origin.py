"""A bundle says whose weights its networks started from, and under which licence."""

import json

import pytest

from classify.config import ModelConfig
from classify.inference.bundle import Bundle, save_bundle, trained_network
from classify.models.backbones import build_network
from classify.models.face_backbones import FACE_BACKBONES
from classify.models.weights_origin import weights_origin
from tests.classify.conftest import plan, task_config


@pytest.mark.parametrize(
    ("settings", "source", "licence"),
    [
        ({"backbone": "face_dlib"}, "dlib's face network", "CC0-1.0"),
        ({"backbone": "face_casia"}, "CASIA-WebFace", "MIT"),
        ({"backbone": "resnet50"}, "timm/resnet50.a1_in1k", "apache-2.0"),
        ({"backbone": "tf_efficientnet_lite0"}, "efficientnet_lite0", "apache-2.0"),
        ({"backbone": "face_dlib", "weights": "a/b.dat"}, "the file b.dat", "not known"),
        ({"backbone": "test_resnet", "pretrained": False}, "random weights", "none needed"),
    ],
)
def test_source_and_licence_of_the_weights_are_known(settings, source, licence):
    origin = weights_origin(ModelConfig.model_validate(settings))
    assert source in origin["source"]
    assert licence in origin["licence"]


def test_a_bundle_keeps_them_beside_each_network(tmp_path):
    task = task_config()
    network = trained_network(plan(task), "half", build_network(task.model, 2, pretrained=False).eval())
    save_bundle(tmp_path, Bundle(plan(task).tasks, (network,), {}, {}, 0, flip=False))
    entry = json.loads((tmp_path / "bundle.json").read_text())["models"]["half"]
    assert entry["weights"] == {"source": "random weights", "licence": "none needed"}


def test_the_documentation_has_a_row_for_each_face_backbone(request):
    page = (request.config.rootpath / "docs" / "reference" / "backbones.md").read_text(encoding="utf-8")
    for name, backbone in FACE_BACKBONES.items():
        [row] = [line for line in page.splitlines() if line.startswith(f"| `{name}`")]
        assert backbone.licence.split(" ")[0] in row
        assert "x".join(map(str, backbone.made_for)) in row
