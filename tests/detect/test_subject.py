import numpy as np

from detect.faces import Faces
from detect.subject import choose_subject


def faces(*boxes):
    n = len(boxes)
    return Faces(
        np.array(boxes, np.float32), np.linspace(0.99, 0.9, n, dtype=np.float32), np.zeros((n, 5, 2), np.float32)
    )


def test_the_large_central_face_wins_over_a_more_certain_one_in_the_corner():
    assert choose_subject(faces((4, 4, 60, 64), (110, 150, 270, 360)), 512, 384, 0.1) == 1


def test_of_two_faces_of_one_size_the_central_one_is_the_subject():
    assert choose_subject(faces((0, 0, 100, 130), (140, 170, 240, 300)), 512, 384, 0.1) == 1


def test_faces_that_are_too_small_or_outside_are_no_subject():
    assert choose_subject(faces((180, 200, 210, 240)), 512, 384, 0.15) is None
    assert choose_subject(faces((-300, 100, -20, 400)), 512, 384, 0.15) is None
    assert choose_subject(Faces.none(), 512, 384, 0.15) is None


def test_of_a_part_of_a_photo_only_the_face_in_its_middle_is_the_subject():
    beside, middle = (300, 40, 384, 150), (150, 200, 230, 310)
    assert choose_subject(faces(beside, middle), 512, 384, 0.1, is_part=True) == 1
    assert choose_subject(faces(beside), 512, 384, 0.1, is_part=True) is None
    assert choose_subject(faces(beside), 512, 384, 0.1) == 0
