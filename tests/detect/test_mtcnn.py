import numpy as np
import pytest
from facenet_pytorch import MTCNN

from detect.mtcnn import FaceDetector


@pytest.fixture(scope="module")
def detector():
    return FaceDetector(min_face=40)


def test_the_faces_are_facenet_pytorchs_sorted_by_score(detector, photos):
    peer = MTCNN(keep_all=True, min_face_size=40)
    for photo, ours in zip(photos, detector.detect(photos), strict=True):
        boxes, scores, landmarks = peer.detect(photo, landmarks=True)
        assert (np.diff(ours.scores) <= 0).all()
        order = np.argsort(-scores.astype(np.float64))
        assert np.abs(ours.boxes - boxes[order]).max() < 0.5
        assert np.abs(ours.landmarks - landmarks[order]).max() < 0.5
        assert np.abs(ours.scores - scores[order]).max() < 1e-3


def test_mixed_sizes_and_orders_give_the_faces_of_each_image_alone(detector, photos):
    mixed = [photos[0], photos[1][:400], photos[2], np.zeros((50, 60, 3), np.uint8), photos[3][:, 20:]]
    together = detector.detect(mixed)
    for image, faces in zip(mixed, together, strict=True):
        [alone] = detector.detect([image])
        assert len(alone) == len(faces)
        if len(faces):
            assert np.abs(alone.boxes - faces.boxes).max() < 0.5
    backwards = detector.detect(mixed[::-1])[::-1]
    assert [len(faces) for faces in backwards] == [len(faces) for faces in together]


@pytest.mark.parametrize("shape", [(1, 1), (16, 200), (8000, 30), (12, 12), (40, 3)])
def test_an_image_that_cannot_hold_a_face_has_none(detector, shape):
    [faces] = detector.detect([np.full((*shape, 3), 128, np.uint8)])
    assert len(faces) == 0
    assert faces.boxes.shape == (0, 4)
    assert faces.landmarks.shape == (0, 5, 2)


def test_no_images_have_no_faces(detector):
    assert detector.detect([]) == []
