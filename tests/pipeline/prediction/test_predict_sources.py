"""`faceline predict` on archives and videos: a row for each photo in them, under a name of its own."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
from PIL import Image as Pillow

from cache.errors import DataError, UsageError
from tests.pipeline.conftest import faceline


def jpeg(pixels) -> bytes:
    content = io.BytesIO()
    Pillow.fromarray(pixels).save(content, "JPEG", quality=95)
    return content.getvalue()


@pytest.fixture
def place(photos, tmp_path, monkeypatch) -> Path:
    """A photo, an archive with the same photo, a wall and a text, and a video of three frames."""
    monkeypatch.chdir(tmp_path)
    Path("a.jpg").write_bytes(jpeg(photos[0]))
    with zipfile.ZipFile("p.zip", "w") as archive:
        archive.writestr("in/same.jpg", Path("a.jpg").read_bytes())
        archive.writestr("wall.jpg", jpeg(np.full((400, 300, 3), 128, np.uint8)))
        archive.writestr("text.jpg", "no photo at all")
        archive.writestr("notes.txt", "no photo by its name")
    writer = cv2.VideoWriter("clip.avi", cv2.VideoWriter.fourcc(*"MJPG"), 25, photos[0].shape[1::-1])
    for photo in photos[:3]:
        writer.write(cv2.cvtColor(photo, cv2.COLOR_RGB2BGR))
    writer.release()
    return tmp_path


def predict(finished, *words):
    return faceline("predict", *words, "--bundle", finished.run / "bundle", "--cache", finished.cache, "--json")


def test_photos_in_archives_and_videos_are_predicted_as_the_same_photos_in_files(finished, place, monkeypatch):
    monkeypatch.setattr("pipeline.intake.sources.BATCH_BYTES", 100_000)  # several batches
    words = ["a.jpg", "p.zip", "clip.avi", "--every", "2", "--keep-crops"]
    printed = json.loads(predict(finished, *words, "--out", "out").stdout.splitlines()[-1])
    table = pl.read_csv("out/predictions.csv")
    assert table["path"].to_list() == [
        "a.jpg", "p.zip/in/same.jpg", "p.zip/wall.jpg", "p.zip/text.jpg", "clip.avi#0", "clip.avi#2"
    ]  # fmt: skip
    assert table["status"].to_list() == ["ok", "ok", "no_face", "unreadable", "ok", "ok"]
    assert table.drop("path").row(0) == table.drop("path").row(1)
    assert printed["photos"] == 6
    assert printed["skipped"] == {"files that are no photos (.txt)": 1}
    assert printed["unreadable"] == 1 and printed["reasons"] == {"not_an_image": 1}
    record = json.loads(Path("out/predictions.json").read_text())
    assert record["counts"] == {"ok": 4, "no_face": 1, "unreadable": 1}

    # A second time, all crops are in the cache, and the folder may be written again.
    monkeypatch.setattr("detect.subject_finder.SubjectFinder.find", lambda *_: pytest.fail("it was detected again"))
    before = Path("out/predictions.csv").read_bytes()
    predict(finished, *words, "--out", "out")
    assert Path("out/predictions.csv").read_bytes() == before
    with pytest.raises(UsageError, match=r"predictions of other photos: clip\.avi#0 and 1 more"):
        predict(finished, "a.jpg", "p.zip", "--out", "out")


def test_an_archive_without_photos_is_an_error_that_says_what_it_holds(finished, place):
    with zipfile.ZipFile("none.zip", "w") as archive:
        archive.writestr("notes.txt", "")
    with pytest.raises(DataError, match=r"none\.zip: no photos \(files that are no photos \(\.txt\): 1\)"):
        predict(finished, "none.zip")


@pytest.mark.parametrize(
    "words",
    [
        ["gone.jpg"],
        ["bad.zip"],
        ["https://example.org/a.jpg"],
        ["camera:0"],
        ["a.jpg", "--set", "model.backbone=x"],
        ["a.jpg", "--out", "taken"],
    ],
)
def test_what_is_wrong_is_said_before_torch_is_imported(finished, place, words):
    Path("bad.zip").write_bytes(b"no archive")
    Path("taken").mkdir()
    Path("taken/predictions.csv").write_text("path\nb.jpg\n")
    code = (
        "import sys; sys.path[0:0] = [sys.argv.pop(1)]\n"
        "from pipeline.commands.app import app\n"
        "from cache.errors import FacelineError\n"
        "try: app()\n"
        "except FacelineError as error: print('torch' in sys.modules, error.exit_code, error)"
    )
    house = str(Path(__file__).parents[3])
    command = [sys.executable, "-c", code, house, "predict", *words, "--bundle", str(finished.run / "bundle")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False 2 "), done.stdout
