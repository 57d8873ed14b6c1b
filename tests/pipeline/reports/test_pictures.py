import numpy as np
import pytest

from cache.store import CropStore
from detect.fingerprints import crop_spec
from pipeline.reports.pictures import Pictures, crops_of, fit
from pipeline.settings import load_settings


def noise(source):
    return np.random.default_rng(int(source)).integers(0, 256, (128, 96, 3), np.uint8)


def test_a_picture_that_is_shown_twice_is_there_once():
    pictures = Pictures(noise)
    assert pictures.name("1") == pictures.name("1") != pictures.name("2")
    assert pictures.style().count("data:image/jpeg;base64,") == 2


def test_pictures_beyond_the_limit_are_left_out_and_counted():
    pictures = Pictures(noise, max_bytes=5000)
    names = [pictures.name(str(number)) for number in range(20)]
    shown = [name for name in names if name]
    assert 1 <= len(shown) < 6
    assert pictures.left_out == 20 - len(shown)
    assert pictures.style().count("url(") == len(shown)


@pytest.mark.parametrize("source", ["0" * 64, "no source id"])
def test_a_crop_that_the_cache_does_not_have_is_missing(tmp_path, source):
    settings = load_settings()
    pictures = Pictures(crops_of(CropStore(tmp_path, crop_spec(settings.detect, settings.crop))))
    assert pictures.name(source) == pictures.large(source) == ""
    assert pictures.missing == 1


@pytest.mark.parametrize(("size", "fitted"), [((400, 300), (96, 72)), ((10, 5000), (1, 72)), ((20, 20), (72, 72))])
def test_a_picture_is_as_large_as_fits(size, fitted):
    assert fit(np.zeros((*size, 3), np.uint8), 72, 96).shape[:2] == fitted
