from pathlib import Path

import numpy as np
import pytest
import torch
from facenet_pytorch import MTCNN
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.errors import UsageError
from detect import FaceDetector
from detect.decode import decode_file
from detect.faces import Faces
from detect.modes import joined
from detect.networks import OpenVinoNetworks, TorchNetworks

SCENES = Path(__file__).parents[3] / "shared" / "data" / "scenes"


def assert_facenets_faces(peer, images, found, least):
    """The faces are those that facenet-pytorch finds in each image alone, and there are at least so many."""
    total = 0
    for image, faces in zip(images, found, strict=True):
        boxes, scores, landmarks = peer.detect(image, landmarks=True)
        count = 0 if boxes is None else len(boxes)
        assert len(faces) == count
        assert (np.diff(faces.scores) <= 0).all()
        if not count:
            continue
        total += count
        # Of equal scores any order will do: each of its boxes is compared to the nearest of faces.
        far = np.abs(faces.boxes[:, None] - boxes[None].astype(np.float32)).max(2)
        same = far.argmin(0)
        assert sorted(same) == list(range(count))
        assert far.min(0).max() < 0.5
        assert np.abs(faces.landmarks[same] - landmarks).max() < 0.5
        assert np.abs(faces.scores[same] - scores.astype(np.float32)).max() < 1e-3
    assert total >= least


@pytest.fixture(scope="module", params=["openvino", "torch"])
def detector(request):
    """Each runtime must pass."""
    if request.param == "openvino":
        pytest.importorskip("openvino")
    with pytest.MonkeyPatch.context() as patch:
        networks = OpenVinoNetworks() if request.param == "openvino" else TorchNetworks(torch.device("cpu"))
        patch.setattr("detect.mtcnn.networks_on", lambda *_, **__: networks)
        return FaceDetector(min_face=40, device="cpu")


@pytest.fixture(scope="module")
def exact():
    return FaceDetector(min_face=40, device="cpu")


def odd_images():
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((300, 400), (64, 64), (41, 700), (900, 1200))]
    return noise + [np.full((h, w, 3), v, np.uint8) for h, w, v in ((512, 384, 0), (512, 384, 128), (90, 100, 255))]


def test_exact_mode_has_facenet_pytorchs_faces(detector, photos):
    images = [*photos, *odd_images(), *(photo[:300] for photo in photos[:4])]
    assert_facenets_faces(MTCNN(keep_all=True, min_face_size=40), images, detector.detect(images), least=14)


def test_exact_mode_with_other_settings_has_facenet_pytorchs_faces(photos):
    peer = MTCNN(keep_all=True, min_face_size=55, thresholds=[0.5, 0.6, 0.5], factor=0.6)
    faces = FaceDetector(55, (0.5, 0.6, 0.5), 0.6, "cpu", batch=3)
    assert_facenets_faces(peer, photos, faces.detect(photos), least=14)


@pytest.mark.skipif(not SCENES.is_dir(), reason="needs the shared street photos")
def test_exact_mode_has_facenet_pytorchs_faces_in_street_photos():
    images = [decode_file(path) for path in sorted(SCENES.rglob("*.jpg"))[::6]]
    found = FaceDetector(device="cpu").detect(images)
    assert_facenets_faces(MTCNN(keep_all=True), images, found, least=200)


@given(order=st.permutations(range(8)), batch=st.integers(1, 5), cut=st.integers(0, 200))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_faces_do_not_depend_on_the_batch_they_came_in(exact, photos, order, batch, cut):
    images = [*photos[:5], photos[5][cut:], photos[6][:, : 384 - cut], np.zeros((50, 60, 3), np.uint8)]
    single = [exact.detect([image])[0] for image in images]
    together = FaceDetector(40, device="cpu", batch=batch).detect([images[i] for i in order])
    for index, faces in zip(order, together, strict=True):
        assert len(faces) == len(single[index])
        assert len(faces) == 0 or np.abs(faces.boxes - single[index].boxes).max() < 0.01


@given(height=st.integers(1, 400), width=st.integers(1, 60), value=st.integers(0, 255))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_size_raises(exact, height, width, value):
    for shape in ((height, width, 3), (width, height, 3)):
        [faces] = exact.detect([np.full(shape, value, np.uint8)])
        assert faces.boxes.shape == (len(faces), 4)
        assert faces.landmarks.shape == (len(faces), 5, 2)


@pytest.mark.parametrize("mode", ["exact", "portrait", "thorough"])
@pytest.mark.parametrize("shape", [(1, 1), (16, 200), (8000, 30), (12, 12), (40, 3), (0, 10)])
def test_an_image_that_cannot_hold_a_face_has_none(mode, shape):
    [faces] = FaceDetector(device="cpu", mode=mode).detect([np.full((*shape, 3), 128, np.uint8)])
    assert len(faces) == 0
    assert faces.boxes.shape == (0, 4)


def test_no_images_have_no_faces(exact):
    assert exact.detect([]) == []


@given(st.tuples(*[st.floats(0.3, 0.95)] * 3))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_face_has_at_least_the_requested_score(photos, thresholds):
    for faces in FaceDetector(60, thresholds, device="cpu").detect(photos[:2]):
        assert (faces.scores > thresholds[2]).all()


def test_portrait_mode_has_the_subject_of_exact_mode(photos):
    exact = FaceDetector(device="cpu").detect(photos)
    portrait = FaceDetector(device="cpu", mode="portrait").detect(photos)
    for many, single in zip(exact, portrait, strict=True):
        assert len(single) == 1
        assert np.abs(many.boxes - single.boxes).max(1).min() < 10


def test_thorough_mode_has_all_of_yunets_faces_and_more():
    first = Faces(np.array([[0, 0, 10, 10]], np.float32), np.array([0.7], np.float32), np.zeros((1, 5, 2), np.float32))
    boxes = np.array([[1, 1, 10, 11], [3, 3, 6, 6], [20, 0, 30, 10]], np.float32)
    second = Faces(boxes, np.array([0.99, 0.98, 0.95], np.float32), np.ones((3, 5, 2), np.float32))
    both = joined(first, second)
    assert both.boxes.tolist() == [[20, 0, 30, 10], [0, 0, 10, 10]]
    assert both.scores.tolist() == pytest.approx([0.95, 0.7])


@pytest.mark.parametrize(
    ("option", "value", "range_"),
    [
        ("min_face", 2, "4 or more"),
        ("min_face", float("nan"), "4 or more"),
        ("thresholds", (0.6, 0.7, 1.7), "between 0 and 1"),
        ("thresholds", (0.6, 0.7), "three numbers"),
        ("factor", 1.0, "between 0.1 and 0.95"),
        ("mode", "fast", "exact, portrait, thorough"),
        ("batch", 0, "1 or more"),
        ("device", "gpu7", "cpu, cuda or cuda:n"),
    ],
)
def test_an_option_out_of_range_is_named_with_its_range(option, value, range_):
    with pytest.raises(UsageError, match=option) as error:
        FaceDetector(**{option: value})
    assert range_ in str(error.value)


@pytest.mark.parametrize("image", [np.zeros((40, 40), np.uint8), np.zeros((40, 40, 3)), "photo.jpg"])
def test_what_is_no_rgb_image_is_named(exact, image):
    with pytest.raises(UsageError, match="image 1 is"):
        exact.detect([np.zeros((40, 40, 3), np.uint8), image])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_has_facenet_pytorchs_faces(photos):
    images = [*photos, *odd_images()]
    found = FaceDetector(min_face=40, device="cuda").detect(images)
    assert_facenets_faces(MTCNN(keep_all=True, min_face_size=40), images, found, least=14)
