"""The crops of fixed photos.

When this fails because the outputs changed on purpose, raise DETECT_VERSION or CROP_VERSION in detect/fingerprints.py
(old crops must not be mixed with new ones), and write the file anew with: python tests/detect/test_golden.py
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from detect.config import CropConfig, DetectConfig
from detect.fingerprints import CROP_VERSION, DETECT_VERSION, crop_spec
from detect.subject_finder import SubjectFinder
from detect.window import cut

GOLDEN = Path(__file__).with_name("golden.json")


def portraits():
    """Photos that need no drawing code: it may change without changing what detection does."""
    y, x = np.mgrid[:512, :384].astype(np.float32)
    photos = []
    for shift in (0, 25):
        face = np.exp(-((((x - 190 - shift) / 75) ** 2 + ((y - 250) / 100) ** 2) ** 2))
        photo = 90 + 110 * face[..., None] * np.array([1.0, 0.82, 0.7], np.float32)
        for eye in (-32, 32):
            white = np.exp(-(((x - 190 - shift - eye) / 15) ** 2 + ((y - 228) / 7) ** 2))
            pupil = np.exp(-(((x - 190 - shift - eye) / 7) ** 2 + ((y - 228) / 7) ** 2))
            brow = np.exp(-(((x - 190 - shift - eye) / 20) ** 2 + ((y - 206) / 5) ** 2))
            photo += (60 * white - 210 * pupil - 110 * brow)[..., None]
        nose = np.exp(-(((x - 190 - shift) / 12) ** 2 + ((y - 274) / 5) ** 2))
        mouth = np.exp(-(((x - 190 - shift) / 30) ** 2 + ((y - 303) / 6) ** 2))
        photo -= (70 * nose + 90 * mouth)[..., None]
        photos.append(np.clip(photo, 0, 255).astype(np.uint8))
    return photos


def outputs():
    finder, crop = SubjectFinder(DetectConfig(), "cpu"), CropConfig()
    found = []
    for photo, subject in zip(portraits(), finder.find(portraits()), strict=True):
        window = subject.window(*photo.shape[:2], crop)
        cropped = cut(photo, window, crop)
        found.append({"found_by": subject.found_by, "window": window.as_list(), "box": subject.box,
                      "mean": [round(float(v), 2) for v in cropped.mean((0, 1))]})  # fmt: skip
    return {"versions": [DETECT_VERSION, CROP_VERSION], "outputs": found}


def test_the_outputs_change_only_with_the_version():
    golden, now = json.loads(GOLDEN.read_text()), outputs()
    assert now["versions"] == golden["versions"], "write the golden file anew: python tests/detect/test_golden.py"
    for expected, output in zip(golden["outputs"], now["outputs"], strict=True):
        assert output["found_by"] == expected["found_by"]
        assert (
            np.abs(np.subtract(output["window"], expected["window"])).max() <= 1
        )  # last bits differ between processors
        assert np.abs(np.subtract(output["mean"], expected["mean"])).max() < 1.0


def test_the_key_has_what_changes_a_crop_and_nothing_else():
    def key(detect=None, crop=None):
        spec = crop_spec(DetectConfig(**(detect or {})), CropConfig(**(crop or {})))
        return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()

    assert key() == key({"batch": 7})
    different = [
        key(),
        key({"min_subject": 0.2}),
        key({"factor": 0.8}),
        key(crop={"margin": 0.6}),
        key(crop={"quality": 90}),
    ]
    assert len(set(different)) == len(different)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(outputs(), indent=1) + "\n")
