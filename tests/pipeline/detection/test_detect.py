"""What the commands say and keep about photos that can't be read, or not this time."""

import json
import os
from pathlib import Path
from typing import get_args

import polars as pl
import pytest
from PIL import Image as Pillow

from cache.errors import DetectionError
from cache.unit import Entry
from detect.failures import Reason
from detect.subject_finder import SubjectFinder
from pipeline.console import Console
from pipeline.context import RunContext
from pipeline.detection.ray_driver import _make_units
from pipeline.detection.ray_worker import UnitDone
from pipeline.detection.unreadable import REASONS, in_words
from pipeline.settings import load_settings
from tests.pipeline.conftest import faceline

ON_CPU = ["--device", "cpu"]


@pytest.fixture
def folder(photos, tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, image in zip("abc", photos[::3], strict=False):
        Pillow.fromarray(image).resize((192, 256)).save(folder / f"{name}.jpg")
    return folder


def detect(folder, *words):
    result = faceline("detect", folder, "--json", *ON_CPU, *words)
    return json.loads(result.stdout.splitlines()[-1]), result.stderr


def read_except(name):
    """Path.read_bytes on a disk where one file can be hashed, but not read a moment later."""
    read = Path.read_bytes

    def fail(path):
        if path.name == name:
            raise OSError(5, "Input/output error")
        return read(path)

    return fail


def test_a_photo_that_is_away_for_a_moment_is_reported_and_tried_again_by_itself(folder, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(Path, "read_bytes", read_except("b.jpg"))
        summary, stderr = detect(folder)
    assert (summary["unreadable"], summary["reasons"]) == (1, {"missing": 1})
    assert "1 of 3 photos could not be read this time, and are tried again by the next run" in stderr
    assert "b.jpg: cannot be read: Input/output error" in stderr
    summary, stderr = detect(folder)
    assert (summary["cut"], summary["unreadable"], summary["reasons"]) == (1, 0, {})
    assert "could not be read" not in stderr
    assert detect(folder)[0]["cut"] == 0


def test_prediction_gives_it_a_row_and_the_next_one_its_answer(finished, folder, tmp_path, monkeypatch):
    words = ["predict", folder, "--bundle", finished.run / "bundle", *ON_CPU]
    with monkeypatch.context() as broken:
        broken.setattr(Path, "read_bytes", read_except("b.jpg"))
        told = faceline(*words, "--out", tmp_path / "first")
    assert "1 unreadable (1 missing or not readable)" in told.stdout
    assert pl.read_csv(tmp_path / "first/predictions.csv")["status"].to_list().count("unreadable") == 1
    faceline(*words, "--out", tmp_path / "second")
    assert "unreadable" not in pl.read_csv(tmp_path / "second/predictions.csv")["status"].to_list()


def test_a_detector_that_fails_on_everything_stops_every_command(finished, folder, tmp_path, monkeypatch):
    def fail(self, images, *more):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(SubjectFinder, "find", fail)
    predict = ["predict", folder, "--bundle", finished.run / "bundle", "--out", tmp_path / "out"]
    for words in (["detect", folder], [*predict[:1], folder / "a.jpg", *predict[2:]]):
        error = faceline(*words, *ON_CPU, ok=False).exception
        assert isinstance(error, DetectionError)
        assert "illegal memory access" in str(error)
    assert not (tmp_path / "out" / "predictions.csv").exists()


def test_a_disk_that_can_not_be_read_at_all_stops_the_run(folder, monkeypatch):
    opened = Path.open

    def fail(path, *words, **options):
        if path.suffix == ".jpg":
            raise OSError(116, "Stale file handle")
        return opened(path, *words, **options)

    with monkeypatch.context() as broken:
        broken.setattr(Path, "open", fail)
        error = faceline("detect", folder, *ON_CPU, ok=False).exception
    assert isinstance(error, DetectionError)
    assert "none of the 3 files can be read at the moment" in str(error)
    assert "a.jpg: Stale file handle" in str(error)
    assert detect(folder)[0]["unreadable"] == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_named_like_a_photo_is_reported_and_not_waited_for(folder, tmp_path):
    os.mkfifo(folder / "pipe.jpg")
    table = folder / "photos.csv"
    table.write_text("path\na.jpg\npipe.jpg\n")
    summary, stderr = detect(table)
    assert summary["reasons"] == {"missing": 1}
    assert "pipe.jpg: cannot be read: not a regular file" in stderr


def test_a_sheet_shows_photos_on_which_the_detector_failed_as_empty_fields(folder, tmp_path, monkeypatch):
    find = SubjectFinder.find

    def fail_on_bright(self, images, *more):
        if any(image.mean() > 250 for image in images):
            raise ValueError("too bright")
        return find(self, images, *more)

    Pillow.new("RGB", (96, 128), "white").save(folder / "white.jpg")
    monkeypatch.setattr(SubjectFinder, "find", fail_on_bright)
    summary, _ = detect(folder, "--sheet", tmp_path / "sheet.png")
    assert summary["reasons"] == {"detector_error": 1}
    assert (tmp_path / "sheet.png").is_file()


def test_a_photo_above_the_limit_names_the_setting_that_reads_it(finished, folder, tmp_path):
    limit = ["--set", "data.max_megapixels=0.04"]  # the photos have 49,152 pixels
    summary, stderr = detect(folder, *limit)
    assert summary["reasons"] == {"too_large": 3}
    assert "3 of 3 photos can't be read: 3 larger than data.max_megapixels" in stderr
    assert "--set data.max_megapixels=1 reads it" in stderr
    checked = json.loads(faceline("check", folder, "--json", *limit).stdout.splitlines()[-1])
    assert [defect["kind"] for defect in checked["defects"]] == ["unreadable file"] * 3
    words = ["predict", folder, "--bundle", finished.run / "bundle", *ON_CPU, "--out", tmp_path / "out"]
    assert "3 unreadable (3 larger than data.max_megapixels)" in faceline(*words, *limit).stdout
    assert "unreadable (" not in faceline(*words).stdout
    assert detect(folder)[0]["unreadable"] == 0


def test_a_folder_of_all_formats_has_a_crop_for_every_photo(folder, photos):
    image = Pillow.fromarray(photos[0]).resize((192, 256))
    image.save(folder / "d.jfif", "JPEG")
    image.save(folder / "e.jpe", "JPEG")
    image.save(folder / "IMG.HEIC", "JPEG")  # phones and web sites do that
    image.save(folder / "f.tif", save_all=True, append_images=[image.rotate(180)])
    image.save(folder / "g.tiff", compression="tiff_lzw")
    image.save(folder / "h.avif", quality=95)
    image.save(folder / "i.GIF", save_all=True, append_images=[image.rotate(180)])
    summary, _ = detect(folder)
    assert (summary["photos"], summary["unreadable"]) == (10, 0)


def test_an_actors_passing_faults_reach_the_driver():
    class Pool:
        def run(self, method, units, on_result):
            for unit in units:
                [(source, path)] = unit
                on_result(unit, UnitDone(1.0, {"detect": 1.0}, {source: Entry(source, path, "changed", {})}))

    context = RunContext(load_settings(), Path("cache"), console=Console.silent())
    waiting, failed = _make_units(Pool(), context, [[("ab" * 32, "a.jpg")], [("cd" * 32, "b.jpg")]])
    assert waiting["detect"] == 1.0
    assert failed.keys() == {"ab" * 32, "cd" * 32}


def test_every_reason_has_words():
    assert set(get_args(Reason)) == REASONS.keys()
    assert in_words({"truncated": 1, "too_large": 2000}) == "2,000 larger than data.max_megapixels, 1 truncated"
