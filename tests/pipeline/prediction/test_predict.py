import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image as Pillow

from cache.errors import BundleError, UsageError
from faceline import Predictor
from tests.pipeline.conftest import faceline


@pytest.fixture
def folder(photos, tmp_path) -> Path:
    """Good photos, a wall, and everything that is no photo."""
    folder = tmp_path / "photos"
    (folder / "사진 모음").mkdir(parents=True)
    Pillow.fromarray(photos[0]).save(folder / "a.jpg")
    Pillow.fromarray(photos[6]).save(folder / "사진 모음" / "웃는 얼굴.PNG")
    Pillow.fromarray(np.full((400, 300, 3), 128, np.uint8)).save(folder / "wall.jpg")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("no photo at all")
    (folder / "torn.jpg").write_bytes((folder / "a.jpg").read_bytes()[:4000])
    return folder


def predict(finished, folder, out, *more):
    return faceline(
        "predict", folder, "--bundle", finished.run / "bundle", "--out", out, "--cache", finished.cache, *more
    )


def test_every_photo_has_a_row_whatever_happened_to_it(finished, folder, tmp_path):
    told = json.loads(predict(finished, folder, tmp_path / "out", "--json").stdout.splitlines()[-1])
    assert told["photos"] == 6
    rows = {
        Path(row["path"]).name: row for row in pl.read_csv(tmp_path / "out" / "predictions.csv").iter_rows(named=True)
    }
    assert {name: row["status"] for name, row in rows.items()} == {
        "a.jpg": "ok", "웃는 얼굴.PNG": "ok", "wall.jpg": "no_face",
        "empty.jpg": "unreadable", "text.jpg": "unreadable", "torn.jpg": "unreadable",
    }  # fmt: skip
    assert rows["wall.jpg"]["found_by"] == "fallback"
    assert rows["wall.jpg"]["score"] is None
    assert rows["wall.jpg"]["x1"] < rows["wall.jpg"]["x2"]
    assert rows["wall.jpg"]["class"] is not None
    empty = rows["empty.jpg"]
    assert all(value is None for column, value in empty.items() if column not in {"path", "status"})


def test_photos_are_named_in_any_way_and_need_no_labels_and_no_people(finished, folder, tmp_path):
    def paths(*inputs):
        words = [*inputs, "--bundle", finished.run / "bundle", "--out", tmp_path / "out", "--overwrite"]
        faceline("predict", *words, "--cache", finished.cache)
        return pl.read_csv(tmp_path / "out" / "predictions.csv")["path"].to_list()

    a, wall = str(folder / "a.jpg"), str(folder / "wall.jpg")
    assert paths(a) == [a]
    assert paths(wall, a) == [wall, a]
    assert paths(folder / "[aw]*.jpg") == [a, wall]
    (folder / "list.txt").write_text("wall.jpg\n")
    assert paths(folder / "list.txt") == ["wall.jpg"]
    (folder / "t.csv").write_text("file\na.jpg\n")
    columns = ["--set", "data.columns.path=file", "--set", "data.columns.person=customer"]
    assert paths(folder / "t.csv", *columns) == ["a.jpg"]
    with pytest.raises(UsageError, match="no photo, folder or table gone"):
        paths(a, "gone.jpg")


def test_the_prediction_of_a_cached_photo_is_the_same_without_detecting_again(finished, folder, tmp_path, monkeypatch):
    predict(finished, folder, tmp_path / "first", "--keep-crops")
    monkeypatch.setattr("detect.subject_finder.SubjectFinder.find", lambda *_: pytest.fail("it was detected again"))
    predict(finished, folder, tmp_path / "second")
    first, second = ((tmp_path / name / "predictions.csv").read_bytes() for name in ("first", "second"))
    assert first == second


def test_the_crop_at_prediction_is_the_crop_at_training(finished, tmp_path):
    # A training photo under another name, in another folder, with another cache: the held-out probabilities come back.
    held_out = pl.read_csv(finished.run / "validation.csv")
    row = held_out.row(0, named=True)
    (tmp_path / "new").mkdir()
    photo = tmp_path / "new" / ("renamed" + Path(row["path"]).suffix)
    shutil.copy(finished.data / row["path"], photo)
    table = Predictor(finished.run / "bundle", device="cpu").predict([photo]).to_polars()
    for column in ("p_mask_wear", "p_gender_male", "p_age_<30"):
        assert table[column][0] == pytest.approx(row[column], abs=1e-5)


def test_a_missing_eval_photo_still_gets_its_answer(finished, some_data, tmp_path):
    gone = sorted((some_data / "eval" / "images").iterdir())[3]
    gone.unlink()
    printed = predict(finished, some_data, tmp_path / "out")
    assert "1 unreadable photos got the most frequent class" in printed.stdout
    submission = dict(pl.read_csv(tmp_path / "out" / "submission.csv").iter_rows())
    most_frequent = json.loads((finished.run / "bundle" / "bundle.json").read_text())["most_frequent"]
    assert submission[gone.name] == most_frequent
    assert len(submission) == 42


def test_a_bundle_whose_crops_cannot_be_made_is_refused(finished, folder, tmp_path):
    bundle = shutil.copytree(finished.run / "bundle", tmp_path / "bundle")
    described = json.loads((bundle / "bundle.json").read_text())
    described["crop"]["fingerprint"] = "0" * 64
    (bundle / "bundle.json").write_text(json.dumps(described))
    with pytest.raises(BundleError, match="would not make the crops"):
        faceline("predict", folder, "--bundle", bundle, "--out", tmp_path / "out", "--cache", finished.cache)
    described["crop"]["detect"]["unheard_of"] = 1
    (bundle / "bundle.json").write_text(json.dumps(described))
    with pytest.raises(BundleError, match="not understood"):
        faceline("predict", folder, "--bundle", bundle, "--out", tmp_path / "out", "--cache", finished.cache)


def test_faces_of_one_photo_have_a_row_each_with_their_boxes_in_the_photo_and_are_scored(finished, photos, tmp_path):
    both = np.concatenate([photos[0], photos[7]], axis=1)  # a woman left and a man right, 384 wide each
    (tmp_path / "faces").mkdir()
    Pillow.fromarray(both).save(tmp_path / "faces" / "both.png")
    boxes = [(110, 150, 270, 360), (110 + 384, 150, 270 + 384, 360)]
    table = pl.DataFrame(
        [("both.png", gender, *box) for gender, box in zip(("female", "male"), boxes, strict=True)],
        schema=["path", "gender", "x1", "y1", "x2", "y2"], orient="row",
    )  # fmt: skip
    table.write_csv(tmp_path / "faces" / "faces.csv")
    predict(finished, tmp_path / "faces" / "faces.csv", tmp_path / "out")
    rows = pl.read_csv(tmp_path / "out" / "predictions.csv").to_dicts()
    assert [row["path"] for row in rows] == ["both.png#110,150,270,360", "both.png#494,150,654,360"]
    for row, (x1, y1, x2, y2) in zip(rows, boxes, strict=True):
        assert x1 - 40 < row["x1"] < row["x2"] < x2 + 40
        assert y1 - 60 < row["y1"] < row["y2"] < y2 + 60
    scored = faceline(
        "evaluate", tmp_path / "out" / "predictions.csv", "--truth", tmp_path / "faces" / "faces.csv", "--json"
    )
    assert json.loads(scored.stdout.splitlines()[-1])["photos"] == 2
