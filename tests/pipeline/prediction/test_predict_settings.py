"""Settings at prediction: each is obeyed, or refused where the bundle decides."""

import json
import shutil

import numpy as np
import polars as pl
import pytest

from cache.errors import UsageError
from classify.inference import runtime
from pipeline.console import Console
from pipeline.context import RunContext
from pipeline.prediction.predict import warn_of_precision
from pipeline.settings import load_settings
from tests.pipeline.conftest import faceline

PROBABILITIES = ["p_mask_wear", "p_mask_incorrect", "p_mask_normal"]


@pytest.fixture(scope="module")
def bundle(finished, tmp_path_factory):
    """A bundle with temperatures and factors that show."""
    folder = shutil.copytree(finished.run / "bundle", tmp_path_factory.mktemp("bundle") / "bundle")
    described = json.loads((folder / "bundle.json").read_text())
    rule = {"temperature": 2.0, "factors": [1.0, 0.5, 1e-6], "unsure_below": 0.0}
    described["decision_rules"] = {
        "mask": rule, "gender": {**rule, "factors": []}, "age": {**rule, "factors": []}
    }  # fmt: skip
    (folder / "bundle.json").write_text(json.dumps(described))
    return folder


@pytest.fixture(scope="module")
def predict(finished, tmp_path_factory):
    def run(bundle, *settings, config=None, ok=True):
        out = tmp_path_factory.mktemp("out") / "out"
        words = ["predict", finished.data, "--bundle", bundle, "--out", out, "--cache", finished.cache]
        words += [word for setting in settings for word in ("--set", setting)]
        words += ["--config", config] if config else []
        result = faceline(*words, "--device", "cpu", ok=ok)
        if not ok:
            return result
        record = json.loads((out / "predictions.json").read_text())
        return pl.read_csv(out / "predictions.csv"), record["settings"]

    return run


@pytest.fixture(scope="module")
def plain(bundle, predict):
    return predict(bundle)


def test_without_settings_the_bundle_decides(plain):
    table, settings = plain
    assert settings == {"flip": True, "calibrate": True, "decide": "f1", "unsure": 0.0, "precision": "fp32"}
    assert "normal" not in table["mask"].to_list()


def test_flip_is_obeyed(bundle, predict, plain):
    table, settings = predict(bundle, "predict.flip=false")
    assert settings["flip"] is False
    assert np.abs(table[PROBABILITIES].to_numpy() - plain[0][PROBABILITIES].to_numpy()).max() > 1e-4


@pytest.mark.parametrize("has_bf16", [True, False])
def test_a_precision_is_obeyed_or_a_line_says_why_not(bundle, predict, plain, has_bf16, monkeypatch):
    pytest.importorskip("openvino")
    if has_bf16 and not runtime._has_bf16():
        pytest.skip("this processor has no bfloat16")
    monkeypatch.setattr(runtime, "_has_bf16", lambda: has_bf16)
    table, settings = predict(bundle, "predict.precision=bf16")
    assert settings["precision"] == ("bf16" if has_bf16 else "fp32")
    assert table[PROBABILITIES].equals(plain[0][PROBABILITIES]) == (not has_bf16)


def test_unsure_is_obeyed(bundle, predict, plain):
    table, settings = predict(bundle, "predict.unsure=1")
    assert settings["unsure"] == 1.0
    assert table["unsure"].to_list() == ["mask gender age"] * len(table)
    assert table.drop("unsure").equals(plain[0])


def test_probable_is_obeyed(bundle, predict):
    table, settings = predict(bundle, "predict.decide=probable")
    assert settings["decide"] == "probable"
    codes = table[PROBABILITIES].to_numpy().argmax(axis=1)
    assert table["mask"].to_list() == [("wear", "incorrect", "normal")[code] for code in codes]


def test_calibrate_false_is_obeyed(bundle, predict, plain):
    table, settings = predict(bundle, "predict.calibrate=false", "predict.decide=probable")
    assert settings["calibrate"] is False
    odds = [np.log(t["p_mask_wear"].to_numpy() / t["p_mask_incorrect"].to_numpy()) for t in (table, plain[0])]
    assert np.allclose(odds[0], 2 * odds[1], atol=0.02), "the temperature was 2"


def test_a_file_counts_for_what_it_sets_in_predict_only(finished, bundle, predict, tmp_path):
    (tmp_path / "flip.yaml").write_text("train: {epochs: 7}\ncrop: {margin: 2}\npredict: {flip: false}\n")
    assert predict(bundle, config=tmp_path / "flip.yaml")[1] == {
        "flip": False, "calibrate": True, "decide": "f1", "unsure": 0.0, "precision": "fp32"
    }  # fmt: skip
    run_config = finished.run / "config.yaml"
    table, _ = predict(finished.run / "bundle", config=run_config)
    eval_table = pl.read_csv(finished.run / "predictions.csv")
    assert table.equals(eval_table), "the settings of its own run change nothing"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("train.epochs=3", r"--set train\.epochs has no part in predict: .*bundle decides it"),
        ("model.backbone=resnet18", "bundle decides it"),
        ("detect.min_subject=0.3", "bundle decides it"),
        ("crop.margin=1", "bundle decides it"),
        ("tasks.age.edges=[35,60]", "bundle decides it"),
        ("split.held_out=1", "bundle decides it"),
        ("seed=1", "bundle decides it"),
        ("data.corrections=[boostcamp]", "reads no labels"),
        ("predict.calibrate=false", "add --set predict.decide=probable"),
    ],
)
def test_what_the_bundle_decides_is_refused_before_anything_is_predicted(bundle, predict, setting, said):
    result = predict(bundle, setting, ok=False)
    assert isinstance(result.exception, UsageError)
    with pytest.raises(UsageError, match=said):
        raise result.exception


def test_factors_that_were_fitted_otherwise_are_refused(finished, bundle, predict, tmp_path):
    joint = shutil.copytree(bundle, tmp_path / "bundle")
    described = json.loads((joint / "bundle.json").read_text())
    (joint / "bundle.json").write_text(json.dumps({**described, "decide": "f1"}))
    refused = predict(joint, "predict.decide=f1_per_task", ok=False)
    assert "were fitted with predict.decide=f1;" in str(refused.exception)
    assert predict(joint, "predict.decide=f1")[1]["decide"] == "f1"
    del described["decide"]  # as older versions have it
    (joint / "bundle.json").write_text(json.dumps(described))
    assert predict(joint, "predict.decide=f1")[1]["decide"] == "f1"


@pytest.mark.parametrize("bundles", [1, 2])
def test_factors_that_the_bundles_lack_are_refused(finished, tmp_path, bundles):
    named = ["--bundle", finished.run / "bundle"] * bundles
    with pytest.raises(UsageError, match="has none: they are fitted in training"):
        faceline("predict", finished.data, *named, "--out", tmp_path, "--set", "predict.decide=f1")


def test_a_bundle_without_temperatures_says_that_it_cannot_calibrate(finished, predict, tmp_path):
    folder = shutil.copytree(finished.run / "bundle", tmp_path / "bundle")
    described = json.loads((folder / "bundle.json").read_text())
    described["decision_rules"] = {}
    (folder / "bundle.json").write_text(json.dumps(described))
    words = ["--out", tmp_path / "out", "--cache", finished.cache, "--device", "cpu"]
    printed = faceline("predict", finished.data, "--bundle", folder, *words, "--set", "predict.calibrate=true")
    assert "has no temperatures" in printed.stderr


def test_a_precision_without_effect_is_said(tmp_path, monkeypatch, capsys):
    console = Console()
    context = RunContext(load_settings(None, ["predict.precision=bf16"]), tmp_path, "cpu", 1, console)
    monkeypatch.setattr("pipeline.prediction.predict.precision_on", lambda *_: "fp32")
    warn_of_precision(context)
    said = capsys.readouterr()
    assert "predict.precision=bf16 has no effect" in " ".join((said.out + said.err).split())
