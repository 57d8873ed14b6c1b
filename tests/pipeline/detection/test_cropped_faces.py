"""Photos that are faces cut out already are recognised, and taken as they are with detect.detector=none."""

import json

import cv2
import numpy as np
import polars as pl
import pytest
from PIL import Image as Pillow

from cache.unit import OK, Entry
from detect.config import CropConfig, DetectConfig
from pipeline.detection.cropped_faces import note_on_crops, note_on_sample, share_outside
from pipeline.intake.load import load_data
from pipeline.settings import DataConfig
from tests.pipeline.conftest import faceline, tiny_options

FACE = (95, 120, 290, 380)  # of the drawn people, somewhat larger than the detectors' boxes


def chip(photo, size=200):
    x1, y1, x2, y2 = FACE
    return cv2.resize(photo[y1:y2, x1:x2], (size, size))


@pytest.fixture
def chips(photos, tmp_path):
    """A folder of square face chips per class, as of UTKFace."""
    for number, photo in enumerate(photos):
        folder = tmp_path / "chips" / ("female" if number < 7 else "male")
        folder.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(chip(photo)).save(folder / f"{number}.png")
    return tmp_path / "chips"


def sample_note(folder, detect=None):
    photos = load_data(folder, (), DataConfig()).evaluation
    return note_on_sample(photos, detect or DetectConfig(), CropConfig(), max_megapixels=100)


def test_check_recognises_face_chips_and_names_the_setting_for_them(chips):
    printed = faceline("check", chips, "--json", "--set", "tasks.mask=null", "--set", "tasks.age=null")
    notes = json.loads(printed.stdout.splitlines()[-1])["notes"]
    assert any("cut out already" in note and "--set detect.detector=none" in note for note in notes)


def test_portraits_and_photos_that_are_taken_as_they_are_are_none(chips, drawn):
    assert sample_note(drawn / "eval" / "images") is None
    assert sample_note(chips)
    assert sample_note(chips, DetectConfig(detector="none")) is None


@pytest.mark.parametrize(
    ("size", "window", "is_cropped"),
    [
        ((384, 512), (-60, -80, 444, 592), False),  # a tight portrait of a camera's size
        ((1024, 1024), (-512, -512, 1536, 1536), True),  # a large chip
        ((178, 218), (-8, -20, 186, 238), True),  # a loose one of CelebA's size
        ((200, 200), (20, 0, 170, 200), False),
    ],
)
def test_how_much_of_a_crop_may_be_border_depends_on_the_photos_size(size, window, is_cropped):
    facts = {"window": window, "photo": size, "landmarks": [[0, 0]] * 5}
    note = note_on_crops([Entry("00", "a.jpg", OK, facts)] * 5)
    assert (note is not None) == is_cropped
    assert note_on_crops([Entry("00", "a.jpg#xywh=0,0,9,9", OK, facts)] * 5) is None
    assert 0 <= share_outside(window, size) < 0.8


def test_without_a_detector_the_photo_is_the_crop_in_training_and_prediction(chips, tmp_path):
    words = ["--set", "tasks.mask=null", "--set", "tasks.age=null", "--set", "detect.detector=none", *tiny_options()]
    shared = ["--cache", tmp_path / "cache", "--device", "cpu"]
    printed = faceline("run", chips, "--out", tmp_path / "run", *shared, *words, "--set", "split.folds=2", "--json")
    assert "fallback" not in printed.stdout
    rows = pl.read_csv(tmp_path / "run" / "predictions.csv")
    assert set(rows["found_by"]) == {"whole"}
    assert set(rows["status"]) == {"ok"}
    assert rows.select("x1", "y1", "x2", "y2").unique().rows() == [(0, 0, 200, 200)]
    assert rows["score"].null_count() == len(rows)
    [unit] = (tmp_path / "cache" / "crops").rglob("manifest.jsonl")
    crops = [cv2.imread(str(path)) for path in unit.parent.glob("*.jpg")]
    assert {crop.shape for crop in crops} == {(200, 200, 3)}
    first = cv2.cvtColor(np.asarray(Pillow.open(chips / "female" / "0.png")), cv2.COLOR_RGB2BGR)
    assert min(np.abs(crop.astype(int) - first).mean() for crop in crops) < 2
    faceline("predict", chips, "--bundle", tmp_path / "run" / "bundle", "--out", tmp_path / "out", *shared)
    assert set(pl.read_csv(tmp_path / "out" / "predictions.csv")["found_by"]) == {"whole"}


def test_without_a_detector_a_given_box_is_the_face(photos, tmp_path):
    Pillow.fromarray(photos[0]).save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("path,x1,y1,x2,y2\na.png,100,150,200,290\na.png,20,30,90,120\n")
    detected = faceline("detect", tmp_path / "t.csv", "--set", "detect.detector=none", "--json")
    assert json.loads(detected.stdout.splitlines()[-1])["found_by"] == {"whole": 0, "given": 2}
