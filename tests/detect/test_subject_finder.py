import numpy as np
import pytest

from detect.config import CropConfig, DetectConfig
from detect.subject import Subject
from detect.subject_finder import SubjectFinder
from detect.window import cut, fallback_window


@pytest.fixture(scope="module")
def finder():
    return SubjectFinder(DetectConfig(), "cpu")


def test_the_subject_of_a_portrait_is_found_at_once(finder, photos):
    subjects = finder.find(photos)
    assert sum(subject.found_by == "mtcnn" for subject in subjects) >= len(photos) - 1
    first = subjects[6]
    assert len(first.landmarks) == 5
    x1, y1, x2, y2 = first.box
    assert x1 < first.landmarks[2][0] < x2
    assert y1 < first.landmarks[2][1] < y2


def test_a_wall_ends_on_the_fallback_window(finder):
    wall = np.full((512, 384, 3), 140, np.uint8)
    [subject] = finder.find([wall])
    assert subject.found_by == "fallback"
    assert subject.box is None
    assert subject.window(512, 384, CropConfig()) == fallback_window(512, 384)


def test_a_dim_face_without_contrast_is_found_on_the_second_try(photos):
    # A first try that requires more than any face has, so that only the second one can find it.
    strict = DetectConfig(thresholds=(0.6, 0.7, 0.9999999), second="none")
    [subject] = SubjectFinder(strict, "cpu").find([photos[6]])
    assert subject.found_by == "mtcnn-retry"


def test_a_large_photo_has_the_same_subject_as_a_small_one(finder, photos):
    large = np.repeat(np.repeat(photos[6], 4, axis=0), 4, axis=1)
    small, big = finder.find([photos[6], large])
    assert np.abs(np.array(big.box) / 4 - small.box).max() < 12


@pytest.mark.parametrize("first", ["mtcnn", "yunet"])
def test_each_detector_works_alone_and_frames_the_face_as_the_other_does(finder, photos, first):
    single = SubjectFinder(DetectConfig(detector=first, second="none"), "cpu")
    for alone, second in zip(single.find(photos[:7]), finder.find(photos[:7]), strict=True):
        assert alone.found_by == first
        assert np.abs(np.array(alone.box) - second.box).max() < 0.2 * (second.box[3] - second.box[1])


def test_yunet_is_the_second_detector(photos):
    blind = DetectConfig(thresholds=(0.6, 0.7, 0.9999999))
    subjects = SubjectFinder(blind, "cpu").find(photos)
    assert sum(subject.found_by == "yunet" for subject in subjects) >= 10
    assert blind.steps == ("mtcnn", "yunet", "mtcnn-retry", "fallback")


def test_a_detector_is_not_its_own_second_detector():
    with pytest.raises(ValueError, match="second is mtcnn, which is the first detector already"):
        DetectConfig(second="mtcnn")


def test_how_many_faces_a_photo_has_is_counted_where_the_subject_was_found(finder, photos):
    both = np.concatenate([photos[0], photos[7]], axis=1)
    wall = np.full((512, 384, 3), 140, np.uint8)
    subjects = finder.find([photos[0], both, wall])
    assert [subject.faces for subject in subjects] == [1, 2, 0]
    assert [Subject.from_facts(subject.facts()) for subject in subjects] == subjects
    assert finder.find([both], [True])[0].faces is None
    old = {key: value for key, value in subjects[0].facts().items() if key != "faces"}
    assert Subject.from_facts(old).faces is None  # as older versions have kept it


def test_without_a_detector_nothing_is_loaded_and_the_photo_is_the_face(photos, monkeypatch):
    monkeypatch.setattr("detect.subject_finder.Mtcnn", lambda *_, **__: pytest.fail("a detector was loaded"))
    settings = DetectConfig(detector="none")
    whole, given = SubjectFinder(settings, "cpu").find([photos[0][:200], photos[0][:340, :255]], [False, True])
    assert ((whole.found_by,), given.found_by) == (settings.steps, "given")
    assert whole.box == (0, 0, 384, 200)
    window = whole.window(200, 384, CropConfig())
    assert window.as_list() == [0, 0, 384, 200]
    assert cut(photos[0][:200], window, CropConfig()).shape == (200, 384, 3)
    assert given.box == (90, 120, 165, 220)  # the part is 3.4 times as high as the given box
    assert DetectConfig(detector="none", second="none").steps == settings.steps


def test_a_given_face_that_is_not_found_again_has_the_given_box(finder):
    wall = np.full((340, 255, 3), 140, np.uint8)
    [given] = finder.find([wall], [True])
    assert (given.found_by, given.box, given.score) == ("given", (90, 120, 165, 220), None)
