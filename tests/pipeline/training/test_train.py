"""Several networks in one run: folds, repeats, one network for all tasks; and the preview of what they see."""

import json

import cv2
import numpy as np
import polars as pl
import pytest
import torch

from cache.errors import DataError, UsageError
from classify.inference.bundle import load_bundle
from classify.models.backbones import head_of
from pipeline.evaluation.validation_table import read_validation
from pipeline.settings import load_settings
from pipeline.training.train import ensemble_members
from tests.pipeline.conftest import faceline, tiny_options


def options(*settings):
    return [*tiny_options(), *(word for setting in settings for word in ("--set", setting))]


def run(finished, folder, *settings):
    words = ["--out", folder, "--cache", finished.cache, "--device", "cpu", "--quiet", *options(*settings)]
    faceline("run", finished.data, *words)
    return folder


def test_every_photo_is_told_by_the_network_that_has_not_seen_its_person(finished, tmp_path):
    folder = run(
        finished, tmp_path / "run", "split.held_out=all", "split.folds=3", "tasks.gender=null", "predict.unsure=0.5"
    )
    folds = pl.read_csv(folder / "folds.csv")
    told = pl.read_csv(folder / "validation.csv")
    assert sorted(told["path"]) == sorted(folds["path"])
    assert dict(zip(told["path"], told["fold"], strict=True)) == dict(zip(folds["path"], folds["fold"], strict=True))
    bundle = load_bundle(folder / "bundle")
    assert [one.name for one in bundle.networks] == [f"{t}-fold{k}" for t in ("mask", "age") for k in range(3)]
    assert [task.name for task in bundle.tasks] == ["mask", "age"]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["network"] for line in lines] == [one.name for one in bundle.networks]
    assert (folder / "mask" / "fold2" / "last.safetensors").is_file()
    predicted = pl.read_csv(folder / "predictions.csv")
    assert predicted.columns[-3:] == ["class", "unsure", "faces"]
    assert json.loads((folder / "calibration.json").read_text()).keys() == {"mask", "age"}
    assert "Least accurate groups" in (folder / "report.html").read_text()
    assert pl.read_csv(folder / "groups.csv")["photos"].sum() == len(told)


@pytest.mark.parametrize("sharing", ["shared", "joint"])
def test_one_network_tells_all_tasks(finished, tmp_path, sharing):
    years = ["tasks.age.head={kind: years, spread: 2.5}"] if sharing == "shared" else []
    folder = run(finished, tmp_path / "run", f"model.sharing={sharing}", "train.keep=last", *years)
    assert [one.name for one in load_bundle(folder / "bundle").networks] == [sharing]
    predicted = pl.read_csv(folder / "predictions.csv")
    for task in ("mask", "gender", "age"):
        shares = predicted.select(pl.sum_horizontal(f"^p_{task}_.*$")).to_series().to_numpy()
        assert np.abs(shares - 1).max() < 1e-4
    assert "unsure" not in predicted.columns, "nobody asked what is unsure"
    told = read_validation(folder / "validation.csv", load_settings().task_list())
    assert len(told.people) > 0


def test_a_fold_that_leaves_a_task_without_labels_is_told_before_anything_is_trained(finished, tmp_path):
    ages = [person.split("_")[-1] for person in pl.read_csv(finished.run / "folds.csv")["person"].unique()]
    only = next(int(age) for age in ages if ages.count(age) == 1)
    one_person = f"tasks.age.drop=[[0, {only - 1}], [{only + 1}, 120]]"
    with pytest.raises(DataError, match=r"age: no labelled photo is left to train on when fold \d is held out"):
        run(finished, tmp_path / "run", "split.held_out=all", "split.folds=3", one_person)
    assert not (tmp_path / "run" / "mask").exists()


def test_what_is_unsure_is_told_also_when_nobody_is_held_out(finished, tmp_path):
    folder = run(finished, tmp_path / "run", "split.held_out=null", "predict.unsure=1", "model.sharing=shared")
    assert pl.read_csv(folder / "predictions.csv")["unsure"].to_list()[0] == "mask gender age"


def test_repeats_differ_by_their_seed_and_vote():
    members = list(ensemble_members(load_settings(None, ["split.repeats=2", "model.sharing=shared", "seed=5"])))
    assert [(m.name, m.seed, str(m.folder)) for m in members] == [
        ("shared-seed0", 5, "shared/seed0"),
        ("shared-seed1", 1005, "shared/seed1"),
    ]


def test_kinds_of_networks_are_trained_on_every_fold_and_vote(finished, tmp_path):
    other = "ensemble={small: {}, tall: {model: {input: [48, 32]}, augment: {every: []}}}"
    folder = run(finished, tmp_path / "run", other, "model.sharing=shared", "split={held_out: all, folds: 2}")
    networks = load_bundle(folder / "bundle").networks
    expected = [f"shared-{kind}-fold{fold}" for kind in ("small", "tall") for fold in (0, 1)]
    assert [network.name for network in networks] == expected
    assert [network.model.input for network in networks] == [(32, 24)] * 2 + [(48, 32)] * 2
    calibration = json.loads((folder / "calibration.json").read_text())
    assert calibration["age"]["networks_held_out"] == 2, "each person is predicted by both kinds"
    assert (folder / "shared" / "tall" / "fold1" / "best.safetensors").is_file()


@pytest.mark.parametrize(
    ("ensemble", "error"),
    [
        ("{a: {model: {backbon: x}}}", "ensemble: model.backbon: "),
        ("{a: {model: {input: [4, 4]}}}", "ensemble: model.input: "),
        ("{a/b: {}}", "'a/b' is no name of a file"),
        ("{a: {split: {folds: 3}}}", "ensemble.a.split"),
    ],
)
def test_a_key_that_a_kind_of_network_cannot_have_is_an_error(ensemble, error):
    with pytest.raises(UsageError, match=error):
        load_settings(None, [f"ensemble={ensemble}"])


def test_every_fold_is_left_out_by_as_many_networks_as_requested():
    settings = load_settings(None, ["split={held_out: all, folds: 5, leave_out: 2}", "model.sharing=shared"])
    members = list(ensemble_members(settings))
    assert [member.held_out for member in members] == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)]
    assert [member.name for member in members] == [f"shared-fold{fold}" for fold in range(5)]
    every_other = load_settings(None, ["split={held_out: all, folds: 2}"])
    assert every_other.split.held_out_folds == [(0,), (1,)]
    assert load_settings(None, ["split.held_out=3"]).split.held_out_folds == [(3,)]
    assert load_settings(None, ["split.held_out=null"]).split.held_out_folds == [()]


def test_a_run_that_leaves_out_two_folds_predicts_everyone_with_two_networks(finished, tmp_path):
    split = ["split.held_out=all", "split.folds=4", "split.leave_out=2"]
    folder = run(finished, tmp_path / "run", *split, "model.sharing=shared", "predict.decide=f1", "train.keep=last")
    folds = pl.read_csv(folder / "folds.csv")
    assert sorted(pl.read_csv(folder / "validation.csv")["path"]) == sorted(folds["path"])
    calibration = json.loads((folder / "calibration.json").read_text())
    rules = load_bundle(folder / "bundle").decision_rules
    for name, fitted in calibration.items():
        assert (fitted["networks_held_out"], fitted["networks_voting"]) == (2, 4)
        assert fitted["temperature"] == rules[name].temperature
    assert "extrapolated to 4" in (folder / "report.html").read_text()
    assert "the epoch that is kept" not in (folder / "report.html").read_text()


def test_scores_of_people_on_whom_an_epoch_was_chosen_say_so(finished, tmp_path):
    words = ["--out", tmp_path / "run", "--cache", finished.cache, "--device", "cpu"]
    only_mask = options("tasks.gender=null", "tasks.age=null", "train.epochs=2", "split.folds=3")
    printed = faceline("run", finished.data, *words, *only_mask).stdout
    note = "the epoch that is kept was chosen on these people (train.keep=best)"
    assert printed.index("Scores on the held-out fold") < printed.index(note) < printed.index("Predictions: ")
    report = (tmp_path / "run" / "report.html").read_text()
    assert report.index("95% interval over people") < report.index(note) < report.index("<h2>Data</h2>")
    assert note not in (finished.run / "report.html").read_text(), "there was one epoch only"


@pytest.mark.parametrize(
    "chosen", [["train.keep=last"], ["train.freeze=true"], ["split.held_out=null"], ["train.epochs=1"]]
)
def test_where_no_epoch_is_chosen_nothing_is_said(chosen):
    assert "(train.keep=best)" in load_settings(None, ["train.epochs=3"]).held_out_note
    assert "(train.keep=best_loss)" in load_settings(None, ["train.epochs=3", "train.keep=best_loss"]).held_out_note
    assert not load_settings(None, ["train.epochs=3", *chosen]).held_out_note


def test_the_preview_trains_nothing_and_shows_every_class(finished, tmp_path):
    group = "tasks.mask.augment.groups=[{where: \"stem = 'mask5'\", multiplier: 3, copies: [[InvertImg: {p: 1.0}]]}]"
    words = ["--out", tmp_path / "run", "--cache", finished.cache, "--preview", "--json", *options(group)]
    printed = faceline("train", finished.data, *words)
    previews = json.loads(printed.stdout.splitlines()[-1])["previews"]
    assert [path.rsplit("preview-")[1] for path in previews] == ["mask.png", "gender.png", "age.png"]
    assert not (tmp_path / "run" / "bundle").exists()
    assert not (tmp_path / "run" / "folds.csv").exists(), "the folds may be others when it is trained"
    four_rows, two_rows = (cv2.imread(path).shape[0] for path in previews[:2])
    assert four_rows > 1.9 * two_rows, "three classes and a group, against two classes"


def test_settings_that_contradict_each_other_leave_no_run_behind(finished, tmp_path):
    words = ["--out", tmp_path / "run", "--cache", finished.cache]
    contradiction = options("model.sharing=shared", "tasks.age.train.lr=0.1")
    error = faceline("train", finished.data, *words, *contradiction, ok=False).exception
    assert isinstance(error, UsageError)
    assert "tasks.age.train.lr" in str(error)
    assert not (tmp_path / "run").exists()


def test_a_network_that_is_fitted_to_all_people_predicts_alone(finished, tmp_path):
    split = "split={held_out: all, folds: 3, refit: true}"
    folder = run(finished, tmp_path / "run", split, "model.sharing=shared", "train.freeze=true", "train.views=2")
    bundle = load_bundle(folder / "bundle")
    assert [(network.name, network.held_out) for network in bundle.networks] == [("shared-all", ())]
    assert sorted(pl.read_csv(folder / "validation.csv")["path"]) == sorted(pl.read_csv(folder / "folds.csv")["path"])
    fitted = json.loads((folder / "calibration.json").read_text())["age"]
    assert (fitted["networks_held_out"], fitted["networks_voting"]) == (1, 1)
    trained_on = pl.read_csv(folder / "metrics.jsonl", has_header=False, separator="\x01")
    assert sum("shared-fold" in line for line in trained_on.to_series()) == 9, "three folds of three tasks"


def test_scores_of_kept_features_are_those_of_the_photos(finished, tmp_path):
    words = ["model.sharing=shared", "train.freeze=true", "train.views=3", "split.folds=3"]
    kept = run(finished, tmp_path / "kept", *words, "split.held_out=all")
    alone = run(finished, tmp_path / "alone", *words, "split.held_out=1")
    tables = [pl.read_csv(folder / "validation.csv").filter(pl.col("fold") == 1) for folder in (kept, alone)]
    first, second = (load_bundle(folder / "bundle") for folder in (kept, alone))
    assert torch.equal(head_of(first.networks[1].network).weight, head_of(second.networks[0].network).weight)
    assert tables[0]["path"].to_list() == tables[1]["path"].to_list()


def test_refit_without_folds_is_an_error():
    with pytest.raises(UsageError, match="refit scores with the networks of all folds"):
        load_settings(None, ["split.refit=true"])


def test_a_kind_that_starts_from_a_probe_has_small_steps_for_its_last_layer():
    settings = load_settings(None, ["ensemble={a: {train: {probe: true}}, b: {}}"])
    scales = [configs["age"].train.head_lr_scale for configs in settings.task_configs.values()]
    assert scales == [1.0, 4.0]
