"""Photos that the networks were trained on: predicted by networks that were not, if there are any, and marked."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from cache.errors import BundleError
from classify.inference.bundle import TRAINED_PHOTOS, load_bundle
from classify.inference.trained_photos import TrainedPhotos
from classify.tasks import Task
from pipeline.prediction.trained_on import network_rows, training_marks
from tests.pipeline.conftest import faceline, tiny_options

MASK, GENDER = Task("mask", ("a", "b")), Task("gender", ("a", "b"))
SOURCES = [f"{number:016x}" for number in range(1, 7)]


def bundle(*networks, known=6):
    """A bundle of networks, given as (tasks, held-out folds), trained on photos in the folds 0, 1, 2, 0, 1, 2."""
    made = [SimpleNamespace(heads=SimpleNamespace(tasks=tasks), held_out=held_out) for tasks, held_out in networks]
    photos = TrainedPhotos.of(SOURCES[:known], [0, 1, 2, 0, 1, 2][:known])
    tasks = tuple(dict.fromkeys(task for tasks, _ in networks for task in tasks))
    return SimpleNamespace(tasks=tasks, networks=made, trained_photos=photos)


def test_each_photo_is_predicted_by_the_networks_that_held_it_out():
    rows = network_rows(bundle(*[((MASK,), (fold,)) for fold in range(3)]), SOURCES)
    assert rows.tolist() == [[fold == row % 3 for row in range(6)] for fold in range(3)]


def test_without_such_a_network_and_for_new_photos_all_networks_predict():
    one_fold = bundle(((MASK,), (1,)), ((MASK,), (1,)), known=5)
    assert network_rows(one_fold, SOURCES).all()
    folds, trained_on = zip(*training_marks([one_fold], SOURCES), strict=True)
    assert folds == (0, 1, 2, 0, 1, None)
    assert trained_on == (True, False, True, True, False, None)
    assert training_marks([bundle(((MASK,), (1,)), known=0)], SOURCES) == [(None, None)] * 6


def test_networks_that_leave_out_two_folds_predict_both():
    rows = network_rows(bundle(*[((MASK,), (fold, (fold + 1) % 3)) for fold in range(3)]), SOURCES[:3])
    assert rows.sum(axis=0).tolist() == [2, 2, 2]


def test_each_task_has_its_own_networks():
    both = bundle(((MASK,), (0,)), ((MASK,), (1,)), ((GENDER,), ()))
    assert network_rows(both, SOURCES[:3]).tolist() == [[True, False, True], [False, True, True], [True] * 3]
    assert training_marks([both], SOURCES[:3]) == [(0, True), (1, True), (2, True)]


def test_a_photo_is_trained_on_if_any_bundle_was_trained_on_it():
    bundles = [bundle(((MASK,), (0,)), known=1), bundle(((MASK,), (1,)), known=2)]
    assert training_marks(bundles, SOURCES[:3]) == [(0, True), (1, False), (None, None)]


@pytest.fixture(scope="module")
def table(finished, tmp_path_factory):
    """A table of the labelled photos, which has no eval part."""
    data = tmp_path_factory.mktemp("table")
    rows = []
    for photo in sorted((finished.data / "train" / "images").rglob("*.jpg")):
        if photo.name.startswith("."):
            continue
        shutil.copy(photo, data / f"{len(rows)}.jpg")
        _, gender, _, age = photo.parent.name.split("_")
        rows.append({"path": f"{len(rows)}.jpg", "person": photo.parent.name, "gender": gender, "age": age})
    pl.DataFrame(rows).write_csv(data / "labels.csv")
    return data


def run_on(table, finished, run, *more):
    words = ["--out", run, "--cache", finished.cache, "--device", "cpu", *tiny_options(), "--set", "tasks.mask=null"]
    options = [word for setting in ("model.sharing=shared", "split.folds=3", *more) for word in ("--set", setting)]
    return faceline("run", table, *words, *options)


def test_run_on_a_table_predicts_each_photo_with_the_network_that_held_it_out(table, finished, tmp_path):
    run = tmp_path / "run"
    run_on(table, finished, run, "split.held_out=all", "predict.calibrate=false")
    held_out = pl.read_csv(run / "validation.csv").sort("path")
    predicted = pl.read_csv(run / "predictions.csv").sort("path")
    assert predicted["path"].to_list() == held_out["path"].to_list()
    assert predicted.columns[-4:] == ["class", "faces", "fold", "trained_on"]
    assert predicted["fold"].to_list() == held_out["fold"].to_list()
    assert not predicted["trained_on"].any()
    probabilities = [name for name in predicted.columns if name.startswith("p_")]
    assert np.abs(predicted[probabilities].to_numpy() - held_out[probabilities].to_numpy()).max() < 1e-5
    assert json.loads((run / "predictions.json").read_text())["trained_on"] == 0
    scored = faceline("evaluate", run / "predictions.csv", "--truth", table / "labels.csv", "--json")
    record = json.loads(scored.stdout.splitlines()[-1])
    assert record["trained_on"] == 0
    assert not any("trained on" in remark for remark in record["remarks"])


def test_photos_that_were_trained_on_are_marked_and_evaluate_says_so(table, finished, tmp_path):
    run = tmp_path / "run"
    printed = run_on(table, finished, run, "split.held_out=0")
    predicted = pl.read_csv(run / "predictions.csv")
    assert predicted["trained_on"].to_list() == [fold != 0 for fold in predicted["fold"]]
    trained_on = int(predicted["trained_on"].sum())
    assert 0 < trained_on < len(predicted)
    assert f"{trained_on} of the predicted photos were trained on" in printed.stdout
    assert "faceline evaluate" not in printed.stdout, "their score would not be one of new photos"
    record = json.loads((run / "predictions.json").read_text())
    assert record["trained_on"] == trained_on

    scored = faceline("evaluate", run / "predictions.csv", "--truth", table / "labels.csv")
    assert f"{trained_on} of the {len(predicted)} photos" in scored.stderr
    assert "not a score of new photos" in scored.stderr

    # The bundle alone knows them as well, under any name.
    (tmp_path / "new").mkdir()
    shutil.copy(table / predicted.row(0, named=True)["path"], tmp_path / "new" / "renamed.jpg")
    words = ["--bundle", run / "bundle", "--cache", finished.cache, "--device", "cpu"]
    faceline("predict", tmp_path / "new", *words, "--out", tmp_path / "out")
    [row] = pl.read_csv(tmp_path / "out" / "predictions.csv").iter_rows(named=True)
    assert row["fold"] == predicted["fold"][0]


def test_a_bundle_without_the_record_predicts_and_says_that_it_does_not_know(finished, tmp_path):
    folder = shutil.copytree(finished.run / "bundle", tmp_path / "bundle")
    (folder / TRAINED_PHOTOS).write_bytes(b"other")
    with pytest.raises(BundleError, match="or delete it"):
        load_bundle(folder)
    (folder / TRAINED_PHOTOS).unlink()
    assert load_bundle(folder).trained_photos is None
    person = next((finished.data / "train" / "images").iterdir())
    words = ["--bundle", folder, "--cache", finished.cache, "--device", "cpu"]
    faceline("predict", person, *words, "--out", tmp_path / "out")
    assert pl.read_csv(tmp_path / "out" / "predictions.csv").columns[-2:] == ["class", "faces"]
    assert json.loads((tmp_path / "out" / "predictions.json").read_text())["trained_on"] is None
