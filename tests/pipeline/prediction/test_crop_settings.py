import pytest

from cache.errors import BundleError
from detect.config import CropConfig, DetectConfig
from pipeline.prediction.crop_settings import crop_settings, differences, read_crop_settings


def test_settings_come_back_as_they_were_recorded():
    detect, crop = DetectConfig(min_subject=0.2), CropConfig(margin=0.7)
    assert read_crop_settings(crop_settings(detect, crop)) == (detect, crop)


def test_the_error_says_what_would_make_other_crops():
    record = crop_settings(DetectConfig(), CropConfig())
    before = {**record["spec"], "version": 1}
    with pytest.raises(BundleError, match=r"what differs: crop\.version was 1 and is 2\)"):
        read_crop_settings({**record, "spec": before, "fingerprint": "0" * 64})
    without_spec = {key: value for key, value in record.items() if key != "spec"}
    with pytest.raises(BundleError, match="trained on, so predictions"):
        read_crop_settings({**without_spec, "fingerprint": "0" * 64})
    assert read_crop_settings(without_spec) == (DetectConfig(), CropConfig()), "as older versions wrote it"


def test_differences_are_named_by_their_key():
    assert differences({"a": 1, "b": {"c": [1, 2]}}, {"a": 1, "b": {"c": (1, 2), "d": 3}}) == [
        "crop.b.d was None and is 3"
    ]
