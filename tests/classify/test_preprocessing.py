import cv2
import numpy as np
import pytest

from cache.errors import CacheError
from classify.preprocessing import centre_of, decode_crop, margin_of, to_input, with_surroundings


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


@pytest.mark.parametrize("shape", [(448, 336), (331, 248), (90, 67), (300, 300), (20, 15)])
@pytest.mark.parametrize("zoom", [1.0, 1.3, 1.7, 4.0])
@pytest.mark.parametrize("size", [(128, 96), (192, 144), (100, 100)])
def test_the_middle_of_an_input_with_surroundings_is_the_input_to_the_last_bit(shape, zoom, size):
    crop = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    margin = margin_of(size, zoom)
    wide = with_surroundings(crop, size, zoom, margin)
    assert wide.shape == (size[0] + 2 * margin[0], size[1] + 2 * margin[1], 3)
    assert (centre_of(wide, margin) == to_input(crop, size, zoom)).all()


def test_surroundings_go_on_where_the_input_ends():
    wide = with_surroundings(gradient(448, 336), (192, 144), 1.7, margin_of((192, 144), 1.7))
    expected = cv2.resize(gradient(448, 336)[26:422, 20:316], (216, 288), interpolation=cv2.INTER_AREA)
    assert np.abs(wide.astype(int) - expected).max() <= 3, "26 and 20 pixels of the crop are beyond the surroundings"
    steps = np.diff(wide[:, 0, 1].astype(int))
    assert steps.min() >= 0, "no row comes twice"
    assert steps.max() <= 2, "no row is left out"


def test_the_margin_is_what_the_crop_has_and_at_most_a_quarter_of_a_side():
    assert margin_of((128, 96), 1.0) == (0, 0)
    assert margin_of((128, 96), 1.3) == (19, 14)
    assert margin_of((192, 144), 1.7) == (48, 36)
    assert margin_of((380, 380), 1.0) == (63, 0), "a crop is higher than wide"


def test_a_crop_that_ends_before_its_surroundings_repeats_its_border():
    wide = with_surroundings(gradient(400, 300), (128, 96), 1.0, (20, 10))
    assert (wide[:20, 50] == wide[0, 50]).all()
    assert (wide[60, -10:] == wide[60, -1]).all()
    assert (centre_of(wide, (20, 10)) == to_input(gradient(400, 300), (128, 96), 1.0)).all()


def test_red_stays_red_from_the_cache_to_the_input():
    red = np.zeros((40, 30, 3), np.uint8)
    red[..., 2] = 250  # OpenCV writes BGR
    crop = decode_crop(cv2.imencode(".jpg", red)[1].tobytes())
    assert crop[20, 15, 0] > 200
    assert crop[20, 15, 2] < 50


def test_a_crop_that_is_no_jpeg_is_a_cache_error():
    with pytest.raises(CacheError, match="cache verify"):
        decode_crop(b"no image")
