import numpy as np
import pytest

from detect.config import DetectConfig
from detect.every_face import EveryFaceFinder
from detect.subject_finder import SubjectFinder


@pytest.fixture(scope="module")
def group(photos):
    """Four people beside each other, two of them at half the size, and a wall."""
    small = np.concatenate([photos[2][::2, ::2], photos[9][::2, ::2]], axis=0)
    return np.concatenate([photos[0], photos[7], small], axis=1)


def test_each_face_of_a_group_is_found_the_largest_first_in_the_framing_of_portraits(group, photos):
    wall = np.full((300, 300, 3), 140, np.uint8)
    faces, none = EveryFaceFinder(DetectConfig(), "cpu").find([group, wall])
    assert none == []
    assert len(faces) == 4
    assert {face.faces for face in faces} == {4}
    heights = [face.box[3] - face.box[1] for face in faces]
    assert heights == sorted(heights, reverse=True)
    assert heights[1] > 1.5 * heights[2]
    left = min(faces[:2], key=lambda face: face.box[0])
    [portrait] = SubjectFinder(DetectConfig(), "cpu").find([photos[0]])
    assert left.box == pytest.approx(portrait.box, abs=0.08 * heights[0])
    x1, _, x2, _ = left.box
    assert x1 < left.landmarks[2][0] < x2


def test_the_smallest_face_and_the_least_score_can_be_set(group):
    assert len(EveryFaceFinder(DetectConfig(), "cpu", min_face=120).find([group])[0]) == 2
    scores = [face.score for face in EveryFaceFinder(DetectConfig(), "cpu").find([group])[0]]
    assert EveryFaceFinder(DetectConfig(), "cpu", min_score=0.9999).find([group]) == [[]]
    assert min(scores) > 0.6
