"""The cascade without torch gives the faces of the one in torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from detect.cascade import Cascade
from detect.networks import TorchNetworks
from detect.portable_mtcnn import PortableMtcnn, suppress

HOUSE = Path(__file__).parents[2]
THRESHOLDS, FACTOR = (0.6, 0.7, 0.7), 0.709


@pytest.fixture(scope="module")
def networks():
    return TorchNetworks(torch.device("cpu"))


@pytest.fixture(scope="module")
def mtcnn(networks):
    @torch.inference_mode()
    def run(stage, pixels):
        padded = np.pad(pixels, [(0, 0)] * 3 + [(0, 1)])
        return [output.numpy() for output in networks.run(stage, torch.from_numpy(padded))]

    return PortableMtcnn(run, THRESHOLDS, FACTOR)


def same(one, other):
    assert len(one) == len(other)
    for name in ("boxes", "scores", "landmarks"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-3)
        assert getattr(one, name).dtype == np.float32


def test_the_faces_are_those_of_the_cascade_in_torch(mtcnn, networks, photos):
    images = [photos[0], np.concatenate([photos[3], photos[9]], 1), photos[5][100:401, 60:300]]
    found = mtcnn.detect(images, [40, 60, 24])
    assert sum(map(len, found)) >= 3
    cascade = Cascade(networks, THRESHOLDS, FACTOR)
    for image, min_face, faces in zip(images, [40, 60, 24], found, strict=True):
        same(faces, cascade.detect([image], min_face)[0])


def test_a_refined_box_is_the_one_of_the_cascade_in_torch(mtcnn, networks, photos):
    [face] = mtcnn.detect(photos[:1], [60])
    boxes = [face.boxes[0] + 6, np.array([-50, -40, 20, 30], np.float32)]
    refined = mtcnn.refine_boxes([photos[0]] * 2, boxes, 0.3)
    cascade = Cascade(networks, THRESHOLDS, FACTOR)
    assert len(refined[0]) == 1
    for box, faces in zip(boxes, refined, strict=True):
        same(faces, cascade.refine_boxes([photos[0]], box[None], 0.3)[0])


def test_an_image_without_room_for_a_face_has_none(mtcnn):
    assert len(mtcnn.detect([np.zeros((11, 300, 3), np.uint8)], [20])[0]) == 0
    assert len(mtcnn.detect([np.zeros((64, 64, 3), np.uint8)], [20])[0]) == 0


def test_of_overlapping_boxes_the_best_is_kept():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], np.float32)
    assert suppress(boxes, np.array([0.8, 0.9, 0.7], np.float32), 0.5).tolist() == [1, 2]
    assert suppress(boxes[:0], np.zeros(0, np.float32), 0.5).tolist() == []


def test_no_torch_is_imported():
    code = "import sys; import detect.ladder, detect.modes, detect.portable_mtcnn, detect.yunet; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=HOUSE)
    assert not set(done.stdout.split()) & {"torch", "pydantic", "PIL", "facenet_pytorch"}
