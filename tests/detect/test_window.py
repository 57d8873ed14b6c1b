import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detect.config import CropConfig
from detect.window import Window, cut, encode, fallback_window, window_around

CROP = CropConfig()


def test_the_window_is_three_by_four_around_the_face_with_the_margin():
    window = window_around((100, 100, 200, 240), CropConfig(margin=0.5))
    assert (window.y2 - window.y1, window.x2 - window.x1) == (280, 210)
    assert (window.x1 + window.x2) / 2 == pytest.approx(150, abs=1)
    assert (window.y1 + window.y2) / 2 == pytest.approx(170, abs=1)


def test_a_crop_inside_the_photo_is_the_photos_pixels():
    photo = np.random.default_rng(0).integers(0, 255, (512, 384, 3), dtype=np.uint8)
    assert (cut(photo, Window(40, 60, 240, 320), CROP) == photo[60:320, 40:240]).all()


def test_a_large_crop_is_shrunk_and_a_small_one_is_never_enlarged():
    photo = np.zeros((2000, 1500, 3), np.uint8)
    assert cut(photo, Window(0, 0, 1500, 2000), CROP).shape == (448, 336, 3)
    assert cut(photo, Window(0, 0, 30, 40), CROP).shape == (40, 30, 3)


def test_shrinking_averages_instead_of_picking_pixels():
    board = np.indices((1792, 1344)).sum(0) % 2 * 255
    photo = np.repeat(board[..., None].astype(np.uint8), 3, axis=2)
    crop = cut(photo, Window(0, 0, 1344, 1792), CROP)
    assert np.abs(crop.astype(int) - 127).max() <= 2


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(-30, 60), st.floats(-30, 60), st.floats(1, 80))
def test_any_box_on_any_photo_gives_a_crop_of_the_windows_shape(height, width, x, y, side):
    photo = np.full((height, width, 3), 77, np.uint8)
    window = window_around((x, y, x + side, y + 1.3 * side), CROP)
    crop = cut(photo, window, CROP)
    assert crop.shape == (window.y2 - window.y1, window.x2 - window.x1, 3)
    assert (crop == 77).all()


def test_the_fallback_window_holds_the_windows_that_hold_96_percent_of_the_reference_faces():
    window = fallback_window(512, 384)
    assert window.x1 <= 30
    assert window.x2 >= 350
    assert window.y1 <= 70
    assert window.y2 >= 430
    assert (window.x2 - window.x1) / (window.y2 - window.y1) == pytest.approx(0.75, abs=0.01)


def test_the_fallback_window_of_a_landscape_photo_stays_in_it():
    window = fallback_window(300, 900)
    assert 0 <= window.y1 < window.y2 <= 300
    assert 300 < (window.x1 + window.x2) / 2 < 600


def test_a_crop_keeps_its_colours_through_the_encoding(photos):
    crop = cut(photos[0], Window(40, 60, 240, 320), CROP)
    again = cv2.cvtColor(cv2.imdecode(np.frombuffer(encode(crop, CROP), np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert np.abs(again.astype(int) - crop).mean() < 2.5


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), *[st.integers(-50, 50)] * 2, *[st.integers(1, 70)] * 2)
def test_the_border_goes_on_with_its_own_pixels(height, width, x, y, wide, tall):
    photo = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    rows, columns = np.clip(np.arange(y, y + tall), 0, height - 1), np.clip(np.arange(x, x + wide), 0, width - 1)
    assert (cut(photo, Window(x, y, x + wide, y + tall), CROP) == photo[rows[:, None], columns]).all()


def disc(x, y, shape=(512, 384)):
    """A soft white disc, so that its middle can be measured to a hundredth of a pixel."""
    down, across = np.mgrid[: shape[0], : shape[1]] + 0.5
    white = 255 * np.exp(-((across - x) ** 2 + (down - y) ** 2) / 200)
    return np.repeat(white[..., None].astype(np.uint8), 3, axis=2)


def middle(crop):
    down, across = np.mgrid[: crop.shape[0], : crop.shape[1]] + 0.5
    light = crop[..., 0].astype(float)
    return (across * light).sum() / light.sum(), (down * light).sum() / light.sum()


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.5, 0.8])
def test_a_window_that_is_shrunk_is_cut_between_pixels(shift):
    crop = CropConfig(max_height=100)
    window = window_around((92.0 + shift, 156.0 + shift, 292.0 + shift, 356.0 + shift), crop)
    x, y = middle(cut(disc(192 + shift, 256 + shift), window, crop))
    assert (x, y) == pytest.approx((37.5, 50), abs=0.03)


@pytest.mark.parametrize("tilt", [-30, -8, 0, 12, 40])
def test_alignment_levels_the_eyes_around_the_windows_middle(tilt):
    angle = np.radians(tilt)
    across = np.array([np.cos(angle), np.sin(angle)]) * 40
    eyes = [tuple(np.array([200.0, 250.0]) - across), tuple(np.array([200.0, 250.0]) + across)]
    photo = np.maximum(disc(*eyes[0]), disc(*eyes[1]))
    crop = CropConfig(align=True)
    window = window_around((150, 180, 250, 320), crop, eyes)
    cropped = cut(photo, window, crop)
    left, right = cropped[:, : cropped.shape[1] // 2], cropped[:, cropped.shape[1] // 2 :]
    assert middle(left)[1] == pytest.approx(middle(right)[1], abs=0.3)
    assert middle(cropped) == pytest.approx((cropped.shape[1] / 2, cropped.shape[0] / 2), abs=0.3)
    assert window_around((150, 180, 250, 320), CropConfig(), eyes).turn == 0


def test_eyes_above_each_other_are_no_reason_to_turn():
    assert window_around((150, 180, 250, 320), CropConfig(align=True), [(200, 200), (201, 260)]).turn == 0
