"""Several bundles that vote: at prediction, weighed on held-out people, and as a teacher."""

import json
import shutil

import numpy as np
import polars as pl
import pytest

from cache.errors import BundleError
from faceline import Predictor
from tests.pipeline.conftest import faceline, tiny_options


@pytest.fixture(scope="session")
def whole_photo(finished, tmp_path_factory):
    """A run whose crops are next to the whole photo, at another input size, on the folds of `finished`."""
    run = tmp_path_factory.mktemp("whole") / "run"
    more = ["--set", "crop.margin=3", "--set", "model.input=[40,32]", "--set", "model.zoom=1", "--set", "seed=1",
            "--set", "split.seed=0"]  # fmt: skip
    faceline("train", finished.data, "--out", run, "--cache", finished.cache, "--device", "cpu", *tiny_options(), *more)
    return run


def predict(finished, out, *bundles):
    named = [word for bundle in bundles for word in ("--bundle", bundle)]
    faceline("predict", finished.data, *named, "--out", out, "--cache", finished.cache, "--device", "cpu")
    return pl.read_csv(out / "predictions.csv")


def test_bundles_with_other_crops_and_sizes_vote_with_the_mean_of_their_probabilities(finished, whole_photo, tmp_path):
    bundles = [finished.run / "bundle", whole_photo / "bundle"]
    one, other = (predict(finished, tmp_path / str(i), bundle) for i, bundle in enumerate(bundles))
    both = predict(finished, tmp_path / "both", *bundles)
    assert one.columns == both.columns
    for column in ("path", "status", "x1", "score"):
        assert both[column].to_list() == one[column].to_list()
    told = [c for c in both.columns if c.startswith("p_")]
    mean = (one[told].to_numpy() + other[told].to_numpy()) / 2
    assert np.abs(both[told].to_numpy() - mean).max() < 2e-6
    assert np.abs(one[told].to_numpy() - other[told].to_numpy()).max() > 0.01
    masks = both[["p_mask_wear", "p_mask_incorrect", "p_mask_normal"]].to_numpy().argmax(axis=1)
    assert both["mask"].to_list() == [("wear", "incorrect", "normal")[code] for code in masks]
    photo = sorted((finished.data / "eval" / "images").iterdir())[0]
    table = Predictor(bundles, device="cpu", cache=finished.cache).predict([photo])
    [row] = both.filter(pl.col("path").str.ends_with(photo.name)).iter_rows(named=True)
    assert table["p_mask_wear"][0] == pytest.approx(row["p_mask_wear"], abs=2e-6)


def test_bundles_that_tell_different_things_are_refused(finished, tmp_path):
    other = shutil.copytree(finished.run / "bundle", tmp_path / "bundle")
    described = json.loads((other / "bundle.json").read_text())
    described["tasks"]["age"]["classes"] = ["young", "middle", "old"]
    (other / "bundle.json").write_text(json.dumps(described))
    with pytest.raises(BundleError, match="age has the classes <30, 30-59, >=60 in the first and young, middle, old"):
        Predictor([finished.run / "bundle", other])
    described["tasks"].pop("age")
    described["models"].pop("age")
    (other / "bundle.json").write_text(json.dumps(described))
    with pytest.raises(BundleError, match="the first tells mask, gender, age and the other mask, gender"):
        Predictor([finished.run / "bundle", other])
