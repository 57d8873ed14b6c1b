"""Rows for all faces, and what is written besides predictions.csv."""

import json
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image as Pillow

from cache.errors import UsageError
from pipeline.intake.own_files import is_own_picture
from pipeline.prediction.picture_files import FileNames, class_folder
from tests.pipeline.conftest import faceline


@pytest.fixture
def place(photos, tmp_path, monkeypatch) -> Path:
    """Two people beside each other, one person, a wall, and a text."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Pillow.fromarray(np.concatenate([photos[0], photos[7]], axis=1)).save("photos/both.png")
    Pillow.fromarray(photos[1]).save("photos/one.png")
    Pillow.fromarray(np.full((400, 300, 3), 128, np.uint8)).save("photos/wall.jpg")
    Path("photos/text.jpg").write_text("no photo")
    return tmp_path


@pytest.fixture
def predict(finished, place):
    def run(*words):
        return faceline(
            "predict", *words, "--bundle", finished.run / "bundle", "--cache", finished.cache, "--device", "cpu"
        )

    return run


def rows_of(folder="out"):
    return pl.read_csv(f"{folder}/predictions.csv")


def test_every_face_has_a_row_with_its_number_box_landmarks_and_answers(predict, place):
    printed = json.loads(
        predict("photos", "--faces", "all", "--out", "out", "--draw", "drawn", "--json").stdout.splitlines()[-1]
    )
    rows = rows_of()
    assert rows["path"].to_list() == ["both.png#1", "both.png#2", "one.png#1", "text.jpg", "wall.jpg"]
    assert rows["photo"].to_list() == ["both.png", "both.png", "one.png", "text.jpg", "wall.jpg"]
    assert rows["face"].to_list() == [1, 2, 1, None, None]
    assert rows["faces"].to_list() == [2, 2, 1, None, 0]
    assert rows["status"].to_list() == ["ok", "ok", "ok", "unreadable", "no_face"]
    assert (printed["photos"], printed["rows"], printed["pictures"]) == (4, 5, 3)
    left, right = sorted(rows.head(2).to_dicts(), key=lambda row: row["x1"])
    assert left["x2"] < 384 < right["x1"]
    for row in (left, right):
        assert row["x1"] < row["left_eye_x"] < row["nose_x"] < row["right_eye_x"] < row["x2"]
        assert row["y1"] < row["nose_y"] < row["left_mouth_y"] < row["y2"]
        assert row["p_gender_male"] + row["p_gender_female"] == pytest.approx(1, abs=1e-4)
    with Pillow.open("drawn/both.png.jpg") as picture:
        assert picture.size == (768, 512)
        colours = np.asarray(picture).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) > 1000
    assert is_own_picture(Path("drawn/both.png.jpg"))
    predict("photos", "--faces", "all", "--out", "out")  # the same photos: the folder may be written again
    assert rows_of().equals(rows)


def test_the_crop_of_a_face_is_that_of_the_same_face_in_a_portrait(predict, place):
    predict("photos/one.png", "--faces", "all", "--out", "all")
    predict("photos/one.png", "--out", "subject")
    face, subject = rows_of("all"), rows_of("subject")
    for column in ("p_mask_wear", "p_gender_male", "p_age_<30"):
        assert face[column][0] == pytest.approx(subject[column][0], abs=0.05)


def test_the_smallest_face_and_the_score_are_options(predict, place):
    predict("photos/both.png", "--faces", "all", "--min-face", "400", "--out", "out")
    assert "both.png#1" not in rows_of()["path"].to_list()


def test_by_default_a_row_says_how_many_faces_the_photo_had(predict, place):
    predict("photos", "--out", "out")
    assert dict(rows_of().select("path", "faces").iter_rows()) == {
        "both.png": 2, "one.png": 1, "text.jpg": None, "wall.jpg": 0,
    }  # fmt: skip


def test_given_boxes_are_taken_from_a_table_with_a_row_a_photo(predict, place):
    Path("t.csv").write_text("path,x1,y1,x2,y2\nphotos/both.png,494,150,654,360\n")
    predict("t.csv", "--faces", "given", "--out", "out")
    [row] = rows_of().to_dicts()
    assert row["path"] == "photos/both.png"
    assert row["x1"] > 384
    predict("t.csv", "--out", "subject")
    assert rows_of("subject")["faces"].to_list() == [2]


def test_photos_are_sorted_into_folders_by_class_as_links_or_copies(predict, place):
    predict("photos", "--out", "out", "--sort", "links", "--sort-by", "gender")
    for row in rows_of().iter_rows(named=True):
        folder = row["gender"] if row["status"] == "ok" else row["status"]
        link = Path("links") / folder / row["path"]
        assert link.is_symlink()
        assert link.resolve() == Path("photos").resolve() / row["path"]
    with zipfile.ZipFile("p.zip", "w") as archive:
        archive.write("photos/one.png", "../../one.png")
    predict("photos/one.png", "p.zip", "--out", "out2", "--sort", "copies", "--copy")
    first = rows_of("out2").row(0, named=True)
    folder = Path("copies", first["mask"], first["gender"], class_folder(first["age"]))
    copies = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
    assert copies == ["p.zip/one.png", "photos/one.png"]
    assert all(not path.is_symlink() for path in folder.rglob("*.png"))
    assert (folder / "p.zip/one.png").read_bytes() == Path("photos/one.png").read_bytes()


def test_the_table_is_written_in_other_formats_too_and_not_left_behind(predict, place):
    predict("photos", "--out", "out", "--format", "parquet", "--format", "jsonl")
    table = rows_of()
    for other in (pl.read_parquet("out/predictions.parquet"), pl.read_ndjson("out/predictions.jsonl")):
        assert other.columns == table.columns
        assert other["path"].to_list() == table["path"].to_list()
        assert other["p_gender_male"].to_list()[0] == pytest.approx(table["p_gender_male"][0], abs=1e-6)
    predict("photos", "--out", "out")
    assert not Path("out/predictions.parquet").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--min-face", "40"], "--min-face has a part only in --faces all"),
        (["--copy"], "--copy has a part only in --sort DIR"),
        (["--faces", "all", "--keep-crops"], "--keep-crops"),
        (["--faces", "given"], "--faces given takes the faces' boxes from a table"),
        (["--draw", "photos"], "--draw photos: there is something already"),
    ],
)
def test_options_without_an_effect_and_used_folders_are_refused(predict, place, words, message):
    with pytest.raises(UsageError, match=message):
        predict("photos", *words)


def test_no_name_leads_out_of_a_folder_and_none_is_used_twice():
    names = FileNames()
    given = [
        "../../a.jpg",
        "/a.jpg",
        "C:\\x\\b.png",
        "a.jpg",
        "A.JPG",
        "clip.mp4#120",
        "..",
        "x" * 300 + ".jpg",
        "a\nb.jpg",
    ]
    made = [str(names.name(name, ".jpg")) for name in given]
    assert made[:4] == ["a.jpg", "a-2.jpg", "C_/x/b.png.jpg", "a-3.jpg"]
    assert made[5:7] == ["clip.mp4#120.jpg", "photo.jpg"]
    assert len({name.casefold() for name in made}) == len(made)
    assert all(len(part.encode()) <= 210 for name in made for part in name.split("/"))
    assert all(".." not in name and "\n" not in name and not name.startswith("/") for name in made)
    assert [class_folder(name) for name in ("<30", ">=60", "a/b", "..")] == ["under 30", "from 60", "a_b", "_"]
