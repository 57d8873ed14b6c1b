"""Predictions are not replaced by those of other photos or of another bundle, and nothing stale stays beside them."""

import json
import shutil

import polars as pl
import pytest

from cache.errors import UsageError
from tests.pipeline.conftest import faceline


@pytest.fixture
def photos(finished, tmp_path):
    """Two folders of two photos each."""
    files = sorted((finished.data / "eval" / "images").iterdir())
    for name, some in {"a": files[:2], "b": files[2:4]}.items():
        (tmp_path / name).mkdir()
        for file in some:
            shutil.copy(file, tmp_path / name / file.name)
    return tmp_path


@pytest.fixture
def predict(finished, photos, monkeypatch):
    monkeypatch.chdir(photos)

    def run(folder, *words, bundle=finished.run / "bundle"):
        return faceline("predict", folder, "--bundle", bundle, "--cache", finished.cache, "--device", "cpu", *words)

    return run


def names(folder):
    return set(pl.read_csv(folder / "predictions.csv")["path"])


def test_by_default_each_prediction_has_a_folder_of_its_own_which_is_named(predict, photos):
    for folder, out in (("a", "predictions"), ("b", "predictions-2"), ("a", "predictions-3")):
        printed = predict(folder)
        assert f"Predictions: {out}/predictions.csv" in printed.stdout
        assert names(photos / out) == {file.name for file in (photos / folder).iterdir()}


def test_the_same_photos_and_more_may_be_predicted_into_the_same_folder(predict, photos):
    predict("a", "--out", "out")
    predict("a", "--out", "out", "--set", "predict.unsure=0.5")
    for file in (photos / "b").iterdir():
        shutil.copy(file, photos / "a")
    predict("a", "--out", "out")
    assert len(names(photos / "out")) == 4


def test_predictions_of_other_photos_are_replaced_only_on_request(predict, photos):
    predict("a", "--out", "out")
    before = (photos / "out" / "predictions.csv").read_bytes()
    with pytest.raises(UsageError, match=r"other photos: .* and 1 more are not predicted now.*--overwrite"):
        predict("b", "--out", "out")
    assert (photos / "out" / "predictions.csv").read_bytes() == before
    predict("b", "--out", "out", "--overwrite")
    assert names(photos / "out") == {file.name for file in (photos / "b").iterdir()}


def test_predictions_by_another_bundle_are_replaced_only_on_request(finished, predict, photos):
    predict("a", "--out", "out")
    other = shutil.copytree(finished.run / "bundle", photos / "other")
    described = json.loads((other / "bundle.json").read_text())
    (other / "bundle.json").write_text(json.dumps({**described, "flip": False}))
    with pytest.raises(UsageError, match=r"predictions of another bundle, .*--overwrite"):
        predict("a", "--out", "out", bundle=other)
    predict("a", "--out", "out", "--overwrite", bundle=other)
    # The same bundle in another place is the same bundle.
    moved = shutil.copytree(other, photos / "moved")
    predict("a", "--out", "out", bundle=moved)


def test_predictions_that_nobody_knows_are_not_replaced(predict, photos):
    (photos / "out").mkdir()
    (photos / "out" / "predictions.csv").write_text("path\na.jpg\n")
    with pytest.raises(UsageError, match=r"no predictions\.json says which bundle.*--overwrite"):
        predict("a", "--out", "out")
    (photos / "out" / "predictions.json").write_text("{}")
    with pytest.raises(UsageError, match=r"(?s)lacks or misstates.*--overwrite"):
        predict("a", "--out", "out")
    predict("a", "--out", "out", "--overwrite")


def test_a_submission_of_the_users_own_stays(finished, predict, photos):
    (photos / "out").mkdir()
    (photos / "out" / "submission.csv").write_text("mine")
    for _ in range(2):
        predict("a", "--out", "out")
        assert (photos / "out" / "submission.csv").read_text() == "mine"
    with pytest.raises(UsageError, match=r"submission\.csv belongs to no predictions of faceline's.*--overwrite"):
        predict(finished.data, "--out", "out")


def test_no_older_submission_stays_beside_new_predictions(finished, predict, photos):
    predict(finished.data, "--out", "out")
    assert json.loads((photos / "out" / "predictions.json").read_text())["submission"] is True
    assert (photos / "out" / "submission.csv").is_file()
    predict("a", "--out", "out", "--overwrite")
    assert not (photos / "out" / "submission.csv").exists()
    assert json.loads((photos / "out" / "predictions.json").read_text())["submission"] is False
