"""What faceline writes into a data folder is never data, and what a command passes over is counted."""

import json
import shutil

import cv2
import numpy as np
import polars as pl
import pytest

from tests.pipeline.conftest import faceline


@pytest.fixture
def folder(drawn, tmp_path, monkeypatch):
    """A folder with three photos, a note and a hidden file, as the current one."""
    data = tmp_path / "photos"
    data.mkdir()
    for number, photo in enumerate(sorted((drawn / "eval" / "images").glob("*.jpg"))[:3]):
        shutil.copy(photo, data / f"{number}.jpg")
    (data / "notes.txt").touch()
    (data / ".hidden.jpg").touch()
    monkeypatch.chdir(data)
    return data


def last_json(result):
    return json.loads(result.stdout.splitlines()[-1])


def test_detect_finds_the_same_photos_each_time_with_its_cache_and_sheet_among_them(folder):
    cv2.imwrite("grey.png", np.full((96, 72, 3), 128, np.uint8))  # no face: it is on the sheet
    options = ("--cache", "cache", "--sheet", "missed.png", "--device", "cpu", "--json", "--set", "crop.margin=0.5")
    assert [last_json(faceline("detect", ".", *options))["photos"] for _ in range(3)] == [4, 4, 4]
    result = faceline("detect", ".", "--cache", "cache", "--device", "cpu", "--set", "crop.margin=0.5")
    assert "passed over: faceline's own folders (cache: crop cache): 1, " in result.stderr
    assert "faceline's own pictures (missed.png): 1, " in result.stderr
    assert "files that are no photos (.txt): 1, hidden and system files: 1" in result.stderr


def test_predict_does_not_read_its_own_predictions_as_the_table(folder, finished):
    options = ("--bundle", finished.run / "bundle", "--cache", finished.cache, "--device", "cpu", "--json")
    assert last_json(faceline("predict", ".", "--out", ".", *options))["photos"] == 3
    shutil.copy(folder / "0.jpg", folder / "new.jpg")
    shutil.rmtree(folder / "again", ignore_errors=True)
    record = last_json(faceline("predict", ".", "--out", "again", *options))
    assert record["photos"] == 4
    assert record["skipped"]["faceline's own files (predictions.csv)"] == 1
    assert len(pl.read_csv(folder / "again" / "predictions.csv")) == 4


def test_no_cache_keeps_nothing_and_neither_after_ctrl_c(folder, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    assert last_json(faceline("detect", ".", "--no-cache", "--device", "cpu", "--json"))["cut"] == 3
    assert [*temporary.iterdir()] == []
    assert not (tmp_path / "cache").exists()

    def interrupted(photos, context, **_):
        (context.cache / "unit").mkdir()
        raise SystemExit(130)

    monkeypatch.setattr("pipeline.detection.detect.detect_photos", interrupted)
    assert faceline("detect", ".", "--no-cache", ok=False).exit_code == 130
    assert [*temporary.iterdir()] == []


def test_no_cache_excludes_a_cache_and_a_cluster(folder):
    for options in (("--cache", "cache"), ("--engine", "ray")):
        result = faceline("detect", ".", "--no-cache", *options, ok=False)
        assert "exclude each other" in str(result.exception)


def test_train_counts_what_it_passes_over_and_warns_of_unknown_people(folder):
    (folder / "labels.csv").write_text("path,gender\n0.jpg,male\n1.jpg,female\n")
    settings = ("--set", "tasks.mask=null", "--set", "tasks.age=null", "--set", "model.backbone=test_resnet")
    result = faceline("train", "labels.csv", *settings, "--preview", "--set", "split.folds=2", "--out", "run", ok=False)
    assert "passed over: photos that the table does not name: 1" in result.stderr
    assert "warning: labels.csv: each photo counts as a separate person" in " ".join(result.stderr.split())


def test_training_on_folders_that_are_no_classes_says_which_it_found(folder):
    for name in ("cat", "dog"):
        (folder / name).mkdir()
        shutil.copy(folder / "0.jpg", folder / name / "1.jpg")
    result = faceline("train", ".", ok=False)
    assert "no labelled photos" in str(result.exception)
    assert 'tasks.NAME={classes: ["cat", "dog"]}' in str(result.exception)


def test_run_counts_what_it_passed_over_in_its_json_object(finished):
    assert last_json(finished)["skipped"] == {"macOS shadow files (._*)": 1}
