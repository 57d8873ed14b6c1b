import numpy as np

from pipeline.export.portable_predictor import _ladder


def test_an_export_of_a_bundle_that_looks_for_no_face_takes_the_photo_as_the_crop(tmp_path):
    finder = _ladder(tmp_path, {"detector": "none", "second": "yunet"}, threads=1)
    [subject] = finder.find([np.zeros((200, 150, 3), np.uint8)])
    assert (subject.found_by, subject.box) == ("whole", (0, 0, 150, 200))
