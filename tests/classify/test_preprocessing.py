import cv2
import numpy as np
import pytest

from cache.errors import CacheError
from classify.preprocessing import decode_crop, to_input


def gradient(height, width):
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, width)
    image[..., 1] = np.linspace(0, 255, height)[:, None]
    return image


def test_a_circle_stays_a_circle_whatever_the_aspect_of_crop_and_input():
    crop = np.zeros((400, 300, 3), np.uint8)
    cv2.circle(crop, (150, 200), 60, (255, 255, 255), -1)
    for size in [(128, 96), (100, 100), (96, 128)]:
        inside = to_input(crop, size, 1.0)[..., 0] > 127
        height, width = inside.any(1).sum(), inside.any(0).sum()
        assert abs(int(height) - int(width)) <= 2


def test_zoom_cuts_out_the_centre():
    wide, zoomed = to_input(gradient(400, 300), (128, 96), 1.0), to_input(gradient(400, 300), (128, 96), 2.0)
    assert wide[64, 0, 0] < 5
    assert zoomed[64, 0, 0] == pytest.approx(255 / 4, abs=4)


def test_a_small_crop_is_enlarged_to_the_input():
    assert to_input(gradient(9, 7), (128, 96), 1.3).shape == (128, 96, 3)


def test_red_stays_red_from_the_cache_to_the_input():
    red = np.zeros((40, 30, 3), np.uint8)
    red[..., 2] = 250  # OpenCV writes BGR
    crop = decode_crop(cv2.imencode(".jpg", red)[1].tobytes())
    assert crop[20, 15, 0] > 200
    assert crop[20, 15, 2] < 50


def test_a_crop_that_is_no_jpeg_is_a_cache_error():
    with pytest.raises(CacheError, match="cache verify"):
        decode_crop(b"no image")
