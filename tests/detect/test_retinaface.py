"""RetinaFace's weights need a network, so a stand-in of the uniface package answers here."""

import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from cache.errors import UsageError
from detect.retinaface import NAME, RetinaFace


@pytest.fixture
def uniface(monkeypatch):
    calls = []

    class Net:
        def __init__(self, confidence_threshold, providers):
            calls.append((confidence_threshold, providers))

        def detect(self, image):
            calls.append(image[0, 0].tolist())
            boxes = [[10, 10, 90, 110], [5, 5, 20, 20], [100, 20, 180, 130]]
            return [
                SimpleNamespace(bbox=np.array(box), confidence=score, landmarks=np.full((5, 2), box[0]))
                for box, score in zip(boxes, (0.7, 0.99, 0.9), strict=True)
            ]

    monkeypatch.setitem(sys.modules, "uniface", SimpleNamespace(RetinaFace=Net))
    return calls


def test_faces_come_sorted_by_score_and_no_smaller_than_requested(uniface):
    image = np.zeros((200, 200, 3), np.uint8)
    image[..., 0] = 255
    [faces] = RetinaFace(None, 0.6, "cpu").detect([image], [40])
    assert faces.boxes.tolist() == [[100, 20, 180, 130], [10, 10, 90, 110]]
    assert faces.scores.tolist() == pytest.approx([0.9, 0.7])
    assert faces.landmarks[0, 0].tolist() == [100, 100]
    assert uniface == [(0.6, ["CPUExecutionProvider"]), [0, 0, 255]], "it takes BGR"
    assert len(RetinaFace(None, 0.6, "cpu").detect([image[:30]], [40])[0]) == 0


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        (["CoreMLExecutionProvider", "CPUExecutionProvider"], ["CPUExecutionProvider"]),
        (
            ["CUDAExecutionProvider", "CPUExecutionProvider"],
            [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"],
        ),
    ],
)
def test_a_gpu_computes_in_true_float32_or_not_at_all(uniface, monkeypatch, available, expected):
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(get_available_providers=lambda: available))
    RetinaFace(None, 0.6, "cuda")
    assert uniface == [(0.6, expected)]


def test_the_weights_may_be_named(uniface, tmp_path, monkeypatch):
    monkeypatch.setenv("UNIFACE_CACHE_DIR", "elsewhere")
    with pytest.raises(UsageError, match=r"other\.onnx is not a file named"):
        RetinaFace(tmp_path / "other.onnx", 0.6, "cpu")
    (tmp_path / NAME).write_bytes(b"weights")
    RetinaFace(tmp_path / NAME, 0.6, "cpu")
    assert os.environ["UNIFACE_CACHE_DIR"] == str(tmp_path)


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "uniface", None)
    with pytest.raises(UsageError, match=r"pip install --no-deps uniface"):
        RetinaFace(None, 0.6, "cpu")


def test_weights_that_cannot_be_fetched_say_how_to_get_them(monkeypatch):
    def fail(**_):
        raise ConnectionError("no route")

    monkeypatch.setitem(sys.modules, "uniface", SimpleNamespace(RetinaFace=fail))
    with pytest.raises(UsageError, match=r"(?s)no route.*detect\.retinaface_weights"):
        RetinaFace(None, 0.6, "cpu")
