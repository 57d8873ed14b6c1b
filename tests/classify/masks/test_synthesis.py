"""Masks drawn on maskless faces: what they cover, what they leave alone, and where their light comes from."""

from typing import get_args

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from classify.config import Fabric
from classify.masks.synthesis import FABRICS, WEARINGS, can_wear, draw_mask, synthesise

NORMAL = 6  # the drawn woman's photo without a mask; what MTCNN finds in it:
LANDMARKS = np.array([[146, 247], [214, 247], [181, 291], [154, 323], [212, 322]], np.float32)
COMBINATIONS = [(fabric, wearing) for fabric in FABRICS for wearing in WEARINGS]
GREY = np.full((64, 48, 3), 128, np.uint8)


@pytest.fixture
def face(photos):
    return photos[NORMAL]


def pixels_around(image, point, radius=3):
    x, y = (round(float(value)) for value in point)
    return image[y - radius : y + radius + 1, x - radius : x + radius + 1].astype(int)


def changed(image, drawn, point):
    """Share of the pixels around a point that look different."""
    return (np.abs(pixels_around(image, point) - pixels_around(drawn, point)).max(axis=-1) > 2).mean()


def mouth():
    return LANDMARKS[3:].mean(axis=0)


@pytest.mark.parametrize(("fabric", "wearing"), COMBINATIONS)
def test_a_seed_decides_all_pixels(face, fabric, wearing):
    before = face.copy()
    rngs = map(np.random.default_rng, (1, 1, 2))
    first, same, other = (draw_mask(face, LANDMARKS, fabric, wearing, rng) for rng in rngs)
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    assert np.array_equal(face, before)


@pytest.mark.parametrize(("fabric", "wearing"), COMBINATIONS)
def test_the_eyes_and_all_above_them_stay(face, fabric, wearing):
    for seed in range(15):
        drawn = draw_mask(face, LANDMARKS, fabric, wearing, np.random.default_rng(seed))
        assert np.array_equal(drawn[:254], face[:254])


def test_the_settings_name_all_fabrics():
    assert get_args(Fabric) == FABRICS


@pytest.mark.parametrize("fabric", FABRICS)
def test_a_mask_worn_right_covers_nose_and_mouth(face, fabric):
    for seed in range(15):
        drawn = draw_mask(face, LANDMARKS, fabric, "right", np.random.default_rng(seed))
        assert all(changed(face, drawn, point) > 0.6 for point in (LANDMARKS[2], mouth(), *LANDMARKS[3:]))


@pytest.mark.parametrize("fabric", FABRICS)
def test_with_the_nose_out_the_mouth_is_covered_and_the_nose_is_not(face, fabric):
    for seed in range(15):
        drawn = draw_mask(face, LANDMARKS, fabric, "nose_out", np.random.default_rng(seed))
        assert changed(face, drawn, mouth() + np.array([0, 3])) > 0.6
        assert np.array_equal(pixels_around(face, LANDMARKS[2]), pixels_around(drawn, LANDMARKS[2]))


@pytest.mark.parametrize("fabric", FABRICS)
def test_under_the_chin_a_mask_shows_nose_and_mouth(face, fabric):
    for seed in range(15):
        drawn = draw_mask(face, LANDMARKS, fabric, "under_chin", np.random.default_rng(seed))
        assert not np.array_equal(drawn, face)
        assert np.array_equal(pixels_around(face, LANDMARKS[2]), pixels_around(drawn, LANDMARKS[2]))
        assert changed(face, drawn, mouth()) < 0.1


@pytest.mark.parametrize("fabric", FABRICS)
def test_a_face_lit_from_the_left_has_a_mask_lit_from_the_left(fabric):
    image = np.repeat(np.linspace(240, 20, 96)[None, :, None], 128, axis=0).repeat(3, axis=2).astype(np.uint8)
    landmarks = np.array([[34, 45], [62, 45], [48, 62], [37, 75], [59, 75]], np.float32)
    for lit, points in ((image, landmarks), (image[:, ::-1], landmarks)):
        drawn = [draw_mask(lit, points, fabric, "right", np.random.default_rng(seed)) for seed in range(20)]
        left, right = (np.mean([d[66:84, columns] for d in drawn]) for columns in (slice(34, 44), slice(52, 62)))
        assert (left > right * 1.15) if lit is image else (right > left * 1.15)


def test_a_turned_head_shows_less_of_its_far_side():
    turned = np.array([[34, 45], [62, 45], [54, 62], [40, 75], [60, 75]], np.float32)
    differs = np.zeros(96)
    for seed in range(20):
        blank = np.full((128, 96, 3), 128, np.uint8)
        drawn = draw_mask(blank, turned, "surgical", "right", np.random.default_rng(seed))
        differs += (np.abs(drawn[70].astype(int) - 128).max(axis=-1) > 6) / 20
    near, far = differs[:54].sum(), differs[54:].sum()  # of the nose
    assert near > far * 2.1


def test_a_mask_is_as_sharp_as_its_photo(face):
    blurred = cv2.GaussianBlur(face, (0, 0), 5)
    for seed in range(5):
        steps = []
        for photo in (face, blurred):
            drawn = draw_mask(photo, LANDMARKS, "cloth", "right", np.random.default_rng(seed))
            steps.append(np.abs(np.diff(drawn[260:300, 170:190].astype(int), axis=0)).max())  # over the upper edge
        assert steps[0] > steps[1] * 1.5


@pytest.mark.parametrize("wearing", WEARINGS)
def test_eyes_and_a_bare_nose_stay_free_where_the_face_is_small_or_looks_up_or_down(wearing):
    for nose in (0.2, 0.5, 0.88):
        landmarks = np.array([[41, 60], [55, 60], [48, 60 + 14 * nose], [43, 74], [53, 74]], np.float32)
        for seed in range(30):
            blank = np.full((128, 96, 3), 128, np.uint8)
            drawn = draw_mask(blank, landmarks, FABRICS[seed % 6], wearing, np.random.default_rng(seed))
            assert np.array_equal(drawn[:62], blank[:62])
            tip = round(60 + 14 * nose)
            assert wearing == "right" or np.array_equal(drawn[tip, 46:50], blank[tip, 46:50])


coordinates = st.floats(-1e4, 1e4, width=32) | st.floats(0, 64, width=32) | st.sampled_from([np.nan, np.inf, -np.inf])


@settings(deadline=None, max_examples=150)
@given(arrays(np.float32, (5, 2), elements=coordinates), st.sampled_from(COMBINATIONS), st.integers(0, 99))
def test_odd_landmarks_never_raise(landmarks, combination, seed):
    drawn = draw_mask(GREY, landmarks, *combination, np.random.default_rng(seed))
    assert drawn.shape == GREY.shape
    assert drawn.dtype == np.uint8
    assert drawn is not GREY
    if not can_wear(landmarks, GREY.shape):
        assert np.array_equal(drawn, GREY)


@settings(deadline=None, max_examples=150)
@given(
    arrays(np.float32, (5, 2), elements=st.floats(-6, 6, width=32)),
    st.floats(0.1, 3),
    st.tuples(st.floats(-60, 60), st.floats(-60, 60)),
    st.sampled_from(COMBINATIONS),
)
def test_shaken_moved_and_tiny_faces_never_raise(shake, scale, move, combination):
    landmarks = ((LANDMARKS - (181, 290)) / 4 * scale + (24, 32) + move + shake).astype(np.float32)
    for image in (GREY, GREY[:5, :4], GREY[:1, :1]):
        assert draw_mask(image, landmarks, *combination, np.random.default_rng(0)).shape == image.shape


def test_a_profile_and_a_face_upside_down_wear_nothing():
    profile = LANDMARKS + np.array([[0, 0], [0, 0], [55, 0], [30, 0], [0, 0]], np.float32)
    assert can_wear(LANDMARKS, (512, 384))
    assert not can_wear(profile, (512, 384))
    assert not can_wear(LANDMARKS * (1, -1) + (0, 512), (512, 384))
    assert not can_wear(LANDMARKS + np.array([0, 400]), (512, 384))
    assert not can_wear(np.full((5, 2), 20.0), (512, 384))


def test_synthesis_returns_how_the_mask_is_worn_and_follows_the_weights(face):
    rng = np.random.default_rng(0)
    wearings = [synthesise(face, LANDMARKS, rng)[1] for _ in range(60)]
    assert set(wearings) == set(WEARINGS)
    wearings = [synthesise(face, LANDMARKS, rng, wearings={"nose_out": 1, "right": 0})[1] for _ in range(5)]
    assert wearings == ["nose_out"] * 5
    scarves = [synthesise(face, LANDMARKS, rng, fabrics={"scarf": 1})[1] for _ in range(30)]
    assert set(scarves) == {"right", "nose_out"}
    image, wearing = synthesise(GREY, np.zeros((5, 2)), rng)
    assert wearing is None
    assert np.array_equal(image, GREY)


def test_a_misspelt_fabric_or_weights_of_nothing_are_named(face):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="'silk'"):
        draw_mask(face, LANDMARKS, "silk", "right", rng)
    with pytest.raises(ValueError, match="'sideways'"):
        draw_mask(face, LANDMARKS, "cloth", "sideways", rng)
    with pytest.raises(ValueError, match="one above 0"):
        synthesise(face, LANDMARKS, rng, fabrics={"cloth": 0})
