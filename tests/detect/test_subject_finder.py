import numpy as np
import pytest

from detect.config import CropConfig, DetectConfig
from detect.subject_finder import SubjectFinder
from detect.window import fallback_window


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
