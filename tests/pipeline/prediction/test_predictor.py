"""Prediction from Python: a Predictor, and the Python lines of the documentation."""

import copy
import json
import os
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from cache.errors import UsageError
from detect.subject_finder import SubjectFinder
from faceline import Prediction, PredictionList, Predictor
from tests.pipeline.conftest import faceline

HOUSE = Path(__file__).parents[3]


@pytest.fixture
def folder(photos, tmp_path, monkeypatch) -> Path:
    """The current folder, with four photos."""
    monkeypatch.chdir(tmp_path)
    for name, photo in zip("abcd", photos, strict=False):
        Pillow.fromarray(photo).save(f"{name}.jpg")
    return tmp_path


@pytest.fixture(scope="module")
def predictor(finished, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACELINE_CACHE", str(tmp_path_factory.mktemp("cache")))
        return Predictor(finished.run / "bundle", device="cpu")


def paths(predictions):
    return [prediction.path for prediction in predictions]


def test_one_photo_gives_a_prediction_and_several_a_list(predictor, folder):
    assert isinstance(predictor.predict("a.jpg"), Prediction)
    assert predictor.predict(Path("b.jpg")).path == "b.jpg"
    several = predictor.predict(["b.jpg", Path("a.jpg"), "b.jpg"])
    assert isinstance(several, PredictionList)
    assert paths(several) == ["b.jpg", "a.jpg", "b.jpg"]
    assert isinstance(several[1:], PredictionList)
    assert several[1:].to_polars()["path"].to_list() == ["a.jpg", "b.jpg"]
    assert len(predictor.predict(path for path in sorted(folder.glob("*.jpg")))) == 4
    none = predictor.predict([])
    assert none == []
    assert none.to_polars().columns == several.to_polars().columns


def test_a_prediction_says_what_was_found_and_answered(predictor, folder):
    prediction = predictor.predict("a.jpg")
    assert (prediction.path, prediction.status, prediction.is_readable) == ("a.jpg", "ok", True)
    x1, y1, x2, y2 = prediction.box
    assert 0 < x1 < x2 < 384
    assert 0 < y1 < y2 < 512
    assert len(prediction.landmarks) == 5
    assert predictor.classes["age"] == ("<30", "30-59", ">=60")
    for task, classes in predictor.classes.items():
        answer = prediction[task]
        assert answer is getattr(prediction, task)
        assert tuple(answer.probabilities) == classes
        assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert answer.probability == answer.probabilities[answer.label]
    written = json.loads(json.dumps(prediction.to_dict()))
    assert written["box"] == list(prediction.box)
    assert written["tasks"]["age"]["label"] == prediction.age.label
    assert "age" in dir(prediction)
    assert copy.copy(prediction).age is prediction.age
    with pytest.raises(AttributeError, match=r"a\.jpg has no prediction of 'hair'; the tasks are mask, gender, age"):
        prediction.hair  # noqa: B018
    with pytest.raises(KeyError, match="hair"):
        prediction["hair"]


def test_a_photo_that_cannot_be_read_says_why_and_has_no_answer(predictor, folder):
    (folder / "text.jpg").write_text("no photo at all")
    missing, text, good = predictor.predict(["gone.jpg", "text.jpg", "a.jpg"])
    assert [missing.status, text.status, good.status] == ["unreadable", "unreadable", "ok"]
    assert "No such file" in missing.message
    assert "not an image" in text.message
    assert not missing.is_readable
    assert (missing.box, missing.joint_class, dict(missing.tasks)) == (None, None, {})
    with pytest.raises(AttributeError, match=r"gone\.jpg has no age, since it can't be read: .*No such file"):
        missing.age  # noqa: B018
    with pytest.raises(UsageError, match="can't be drawn"):
        text.draw()
    row = predictor.predict(["gone.jpg"]).to_polars().row(0, named=True)
    assert all(value is None for column, value in row.items() if column not in {"path", "status"})


def test_arrays_pil_images_and_bytes_have_the_answers_of_their_file(predictor, folder, photos):
    # A file without loss, turned by EXIF: the pixels are the same in all forms.
    picture = Pillow.fromarray(photos[0])
    exif = Pillow.Exif()
    exif[0x0112] = 3
    picture.rotate(180).save("turned.png", exif=exif)
    file = predictor.predict("turned.png")
    pixels = np.asarray(picture)
    with Pillow.open("turned.png") as turned:
        forms = [pixels, picture, turned, (folder / "turned.png").read_bytes(), pixels[::-1][::-1]]
        for prediction in (*map(predictor.predict, forms), *predictor.predict(forms)):
            assert prediction.box == file.box
            assert prediction.tasks == file.tasks
    assert paths(predictor.predict(forms[:2])) == ["photo 1", "photo 2"]


def test_a_broken_pil_image_is_a_photo_that_cannot_be_read(predictor, folder):
    (folder / "torn.jpg").write_bytes((folder / "a.jpg").read_bytes()[:4000])
    with Pillow.open("torn.jpg") as torn:
        prediction = predictor.predict(torn)
    assert prediction.status == "unreadable"
    assert "damaged" in prediction.message


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (3, "photo 1 is int; a photo is a path"),
        ([None], "photo 1 is NoneType"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"uint8 of shape \(2, 8, 8, 3\)"),
        ([np.zeros((8, 8, 3))], "float64 of shape"),
        ("folder", r"folder is a folder; predictor.stream\('folder'\)"),
        (["a.jpg", "folder"], "folder is a folder"),
    ],
)
def test_what_is_no_photo_is_refused_in_one_sentence(predictor, folder, photo, message):
    (folder / "folder").mkdir()
    with pytest.raises(UsageError, match=message):
        predictor.predict(photo)


def test_a_stream_takes_what_the_command_takes_and_reads_only_a_little_ahead(predictor, folder, photos):
    assert paths(predictor.stream("[ab].jpg")) == ["a.jpg", "b.jpg"]
    assert len(list(predictor.stream(folder))) == 4
    Path("list.txt").write_text("c.jpg\na.jpg\n")
    assert paths(predictor.stream("list.txt")) == ["c.jpg", "a.jpg"]
    with pytest.raises(UsageError, match=r"no photo, folder or table gone"):
        predictor.stream("gone")

    taken = Counter()

    def frames():
        for number in range(1000):
            taken["frames"] += 1
            yield photos[number % 4]

    stream = predictor.stream(frames())
    assert next(stream).status == "ok"
    assert next(stream).path == "photo 2"
    stream.close()
    assert taken["frames"] < 200
    table = PredictionList(predictor.stream(photos[:2])).to_polars()
    assert table.equals(predictor.predict(photos[:2]).to_polars())


def test_the_table_is_that_of_the_command(predictor, finished, folder):
    words = ["--bundle", finished.run / "bundle", "--cache", finished.cache, "--device", "cpu"]
    faceline("predict", "a.jpg", "b.jpg", *words, "--out", "out")
    table = predictor.predict(["a.jpg", "b.jpg"]).to_polars()
    assert table.write_csv(float_precision=6) == (folder / "out" / "predictions.csv").read_text()


def test_a_pandas_table_has_the_same_cells(predictor, folder, monkeypatch):
    predictions = predictor.predict(["a.jpg", "gone.jpg"])
    pandas = pytest.importorskip("pandas")
    table = predictions.to_pandas()
    assert isinstance(table, pandas.DataFrame)
    assert list(table.columns) == predictions.to_polars().columns
    assert table["path"].tolist() == ["a.jpg", "gone.jpg"]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        predictions.to_pandas()


def test_a_drawing_shows_box_and_answers_in_the_photo_it_was_given(predictor, folder, photos):
    from_file, from_memory = predictor.predict("a.jpg").draw(), predictor.predict(photos[0]).draw()
    for drawn in (from_file, from_memory):
        assert drawn.size == (384, 512)
    changed = (np.asarray(from_memory) != photos[0]).any(axis=2)
    x1, y1, x2, _ = (round(edge) for edge in predictor.predict(photos[0]).box)
    assert changed[y1, x1 + 5 : x2 - 5].all(), "the box's upper edge"
    assert not changed[: y1 - 5].any(), "nothing is drawn above it"
    assert changed.mean() > 0.05, "the bars"


def test_what_was_loaded_is_kept_between_calls_and_no_crop_is_written(finished, folder, monkeypatch):
    made = Counter()

    def count(self, *arguments, make=SubjectFinder.__init__, **more):
        made["finder"] += 1
        make(self, *arguments, **more)

    monkeypatch.setattr(SubjectFinder, "__init__", count)
    predictor = Predictor(finished.run / "bundle", device="cpu")
    first = predictor.predict("a.jpg")
    predictor.predict("b.jpg")
    assert predictor.predict("a.jpg").to_dict() == first.to_dict()
    assert made == {"finder": 1}
    written = {path.name for path in (folder / "cache").iterdir()} if (folder / "cache").exists() else set()
    assert written <= {"networks", "tmp"}, "converted networks at most"


def test_crops_in_a_cache_that_is_named_are_used(predictor, finished, folder, monkeypatch):
    words = ["--bundle", finished.run / "bundle", "--cache", folder / "cache", "--device", "cpu", "--out", "out"]
    faceline("predict", "a.jpg", "--keep-crops", *words)
    first = predictor.predict("a.jpg")
    cached = Predictor(finished.run / "bundle", device="cpu", cache=folder / "cache")
    monkeypatch.setattr(SubjectFinder, "find", lambda *_: pytest.fail("it was detected again"))
    assert cached.predict("a.jpg").to_dict() == first.to_dict()
    assert cached.predict((folder / "a.jpg").read_bytes()).age == first.age


def test_threads_share_a_predictor(predictor, folder):
    photos = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"] * 3
    alone = {path: predictor.predict(path).to_dict() for path in set(photos)}
    with ThreadPoolExecutor(4) as pool:
        predictions = list(pool.map(predictor.predict, photos))
    assert [prediction.to_dict() for prediction in predictions] == [alone[path] for path in photos]


def python_blocks():
    # That of architecture.md is no program: tests/test_architecture.py puts it where the page says.
    for page in [HOUSE / "README.md", *sorted((HOUSE / "docs").rglob("*.md"))]:
        for code in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            if page.name != "architecture.md":
                yield pytest.param(code, id=page.name)


@pytest.mark.parametrize("code", [*python_blocks()])
def test_the_documentations_python_lines_run_in_a_process_of_their_own(code, finished, folder):
    (folder / "RUN").symlink_to(finished.run)
    path = f"import sys; sys.path.insert(0, {str(HOUSE)!r})\n"
    check = "\nassert table.height in {1, 2}, table" if "table =" in code else ""
    done = subprocess.run(
        [sys.executable, "-I", "-c", path + code + check],
        capture_output=True, text=True, check=False, env={**os.environ, "FACELINE_CACHE": str(folder / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
