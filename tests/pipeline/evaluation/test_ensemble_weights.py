"""Several bundles that vote: at prediction, weighed on held-out people, and as a teacher."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
import yaml

from cache.errors import BundleError, DataError, UsageError
from classify.data.sample import Sample
from classify.tasks import Task
from faceline import Predictor
from pipeline.console import Console
from pipeline.context import RunContext
from pipeline.detection.detect import source_ids
from pipeline.evaluation.ensemble_weights import read_shared
from pipeline.settings import load_settings
from pipeline.training.teacher_targets import TARGETS, predict_with_teachers
from tests.pipeline.conftest import drawn_data, faceline, tiny_options


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
    table = Predictor(bundles, device="cpu", cache=finished.cache).predict([photo]).to_polars()
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
    described["decision_rules"].pop("age")
    described["held_out_temperatures"].pop("age")
    (other / "bundle.json").write_text(json.dumps(described))
    with pytest.raises(BundleError, match="the first predicts mask, gender, age and the other mask, gender"):
        Predictor([finished.run / "bundle", other])


def test_runs_are_weighed_and_the_folder_predicts(finished, whole_photo, tmp_path):
    out = tmp_path / "vote"
    faceline("vote", finished.run, whole_photo, "--out", out, "--set", "predict.calibrate=false")
    told = json.loads((out / "votes.json").read_text())
    names = [one["name"] for one in told["scores"]]
    assert names == [str(finished.run), str(whole_photo), "equal weights", "fitted weights"]
    assert (
        told["photos"] == len(pl.read_csv(out / "validation.csv")) == len(pl.read_csv(whole_photo / "validation.csv"))
    )
    for own in told["weights"].values():
        assert sum(own) == pytest.approx(1)
    predicted = predict(finished, tmp_path / "out", out)
    parts = [predict(finished, tmp_path / str(i), run / "bundle") for i, run in enumerate((finished.run, whole_photo))]
    for task, column in (("mask", "p_mask_wear"), ("age", "p_age_>=60")):
        mean = sum(w * one[column].to_numpy() for w, one in zip(told["weights"][task], parts, strict=True))
        assert np.abs(predicted[column].to_numpy() - mean).max() < 1e-4
    with pytest.raises(BundleError, match="name it alone"):
        Predictor([out, finished.run / "bundle"])
    told["bundles"][1]["sha256"] = "0" * 64
    (out / "votes.json").write_text(json.dumps(told))
    with pytest.raises(BundleError, match="is not the bundle that"):
        Predictor(out)


def with_factors(run, folder):
    """A copy of the run whose bundle has factors for mask."""
    copy = shutil.copytree(run, folder)
    described = json.loads((copy / "bundle" / "bundle.json").read_text())
    described["decision_rules"]["mask"]["factors"] = [1.0, 0.5, 0.25]
    (copy / "bundle" / "bundle.json").write_text(json.dumps(described))
    return copy


def test_bundles_that_predict_together_without_their_factors_say_so(finished, whole_photo, tmp_path):
    run = with_factors(finished.run, tmp_path / "run")
    words = ["predict", finished.data, "--out", tmp_path / "out", "--cache", finished.cache, "--device", "cpu"]
    together = faceline(*words, "--bundle", run / "bundle", "--bundle", whole_photo / "bundle", "--quiet").stderr
    assert "mask: the most probable class is predicted, without the factors of the bundles" in together
    assert "faceline vote" in together
    alone = faceline(*words, "--bundle", run / "bundle", "--overwrite").stderr
    assert "factors" not in alone, "they are used"


def test_a_vote_says_what_its_rules_and_scores_do_not_take_into_account(finished, whole_photo, tmp_path):
    run = with_factors(finished.run, tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["split"] |= {"held_out": "all", "leave_out": 2}
    for task in config["tasks"].values():
        if task:
            task["train"]["epochs"] = 2
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    said = faceline("vote", run, whole_photo, "--out", tmp_path / "vote").stderr
    assert f"{run} predicts a held-out person with 2 of its networks and a new photo with 5" in said
    assert f"{run} chooses its answers with factors" in said
    assert f"{run}: the epoch that is kept was chosen on these people" in said
    assert str(whole_photo) not in said
    first, second = json.loads((tmp_path / "vote" / "votes.json").read_text())["bundles"]
    assert (first["networks_held_out"], first["networks_voting"]) == (2, 5)
    assert (second["networks_held_out"], second["networks_voting"]) == (1, 1)
    again = faceline("vote", run, whole_photo, "--out", tmp_path / "vote", "--set", "predict.decide=f1").stderr
    assert "chooses its answers" not in again


def test_one_run_is_no_vote(finished, tmp_path):
    with pytest.raises(UsageError, match="two runs or more"):
        faceline("vote", finished.run, finished.run, "--out", tmp_path)


@pytest.mark.parametrize("setting", ["predict.flip=false", "train.epochs=3", "seed=1"])
def test_settings_that_vote_cannot_follow_are_refused(finished, whole_photo, tmp_path, setting):
    with pytest.raises(UsageError, match="has no part in vote"):
        faceline("vote", finished.run, whole_photo, "--out", tmp_path / "vote", "--set", setting)


def test_a_vote_does_not_replace_what_a_run_told(finished, whole_photo):
    with pytest.raises(UsageError, match="is a run"):
        faceline("vote", finished.run, whole_photo, "--out", finished.run)


SMILE = Task("smile", ("no", "yes"))


def held_out(run, photos, **changed):
    """A run's validation.csv of photos with these numbers."""
    table = pl.DataFrame({
        "path": [f"{n}.jpg" for n in photos], "person": [str(n) for n in photos], "source": [f"s{n}" for n in photos],
        "fold": [n % 3 for n in photos], "true_smile": [n % 2 for n in photos], "smile": ["no"] * len(photos),
        "p_smile_no": [0.75] * len(photos), "p_smile_yes": [0.25] * len(photos), "class": [0] * len(photos),
    })  # fmt: skip
    run.mkdir()
    table.with_columns(**{name: pl.Series(value) for name, value in changed.items()}).write_csv(run / "validation.csv")
    return run


def test_photos_of_all_runs_are_matched_by_their_names(tmp_path):
    a, b = held_out(tmp_path / "a", range(10)), held_out(tmp_path / "b", range(9, 1, -1))
    shared = read_shared([a, b], [SMILE])
    assert shared.table["path"].to_list() == [f"{n}.jpg" for n in range(2, 10)]
    assert shared.probabilities["smile"].shape == (2, 8, 2)
    assert shared.warnings == ()
    with pytest.raises(DataError, match="only 3 photos in common"):
        read_shared([a, held_out(tmp_path / "c", range(7, 17))], [SMILE])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"fold": [0] * 10}, "into other folds"),
        ({"person": [f"who{n}" for n in range(10)]}, "disagree about the person"),
        ({"true_smile": [1] * 10}, "has other labels"),
    ],
)
def test_runs_that_do_not_quite_fit_are_warned_of(tmp_path, changed, said):
    shared = read_shared([held_out(tmp_path / "a", range(10)), held_out(tmp_path / "b", range(10), **changed)], [SMILE])
    [warning] = shared.warnings
    assert said in warning


def distil(finished, out, *words):
    return faceline(
        "distill", finished.data, "--out", out, "--cache", finished.cache, "--device", "cpu", *tiny_options(),
        "--set", "tasks.gender=null", *words,
    )  # fmt: skip


def test_a_student_is_taught_by_a_bundle_and_by_what_was_told_out_of_fold(finished, tmp_path):
    folds = pl.read_csv(finished.run / "folds.csv")
    rng = np.random.default_rng(0)
    photos = drawn_data(finished.data)
    context = RunContext(load_settings(), finished.cache, "cpu", console=Console(quiet=True))
    ids = source_ids([photo.path for photo in photos], context)
    source_of = {photo.name: ids[photo.path] for photo in photos}
    columns = {"path": folds["path"], "source": [source_of[name] for name in folds["path"]]}
    for names in (("p_mask_wear", "p_mask_incorrect", "p_mask_normal"), ("p_age_<30", "p_age_30-59", "p_age_>=60")):
        columns |= dict(zip(names, rng.dirichlet([1, 1, 1], len(folds)).T, strict=True))
    (tmp_path / "told").mkdir()
    table = pl.DataFrame(columns)
    table.write_csv(tmp_path / "told" / "validation.csv")
    out = tmp_path / "student"
    printed = distil(finished, out, "--teacher", finished.run, "--teacher", tmp_path / "told")
    assert "Scores on the held-out fold" in printed.stdout
    told = json.loads((out / "teachers.json").read_text())["teachers"]
    assert [one["out_of_fold"] for one in told] == [False, True], "the run held one fold out only"
    assert (out / "bundle" / "bundle.json").is_file()
    with pytest.raises(BundleError, match="other settings or other photos"):
        distil(finished, out, "--teacher", finished.run)


def test_what_was_told_of_other_photos_of_the_same_names_is_not_taught(finished, tmp_path):
    settings = load_settings(None, ["tasks.gender=null", "tasks.age=null"])
    photos = drawn_data(finished.data)[:8]
    context = RunContext(settings, finished.cache, "cpu", console=Console(quiet=True))
    sources = source_ids([photo.path for photo in photos], context)
    columns = {"p_mask_wear": [1.0] * 8, "p_mask_incorrect": [0.0] * 8, "p_mask_normal": [0.0] * 8}
    shutil.copytree(finished.run / "bundle", tmp_path / "bundle")
    for told, out_of_fold in ((list(sources.values()), True), (["another's"] * 8, False)):
        table = pl.DataFrame({"path": [photo.name for photo in photos], "source": told} | columns)
        table.write_csv(tmp_path / "validation.csv")
        predict_with_teachers([tmp_path], photos, tmp_path, context, sources)
        [record] = json.loads((tmp_path / "teachers.json").read_text())["teachers"]
        assert record["out_of_fold"] == out_of_fold


def test_the_teachers_mean_stands_beside_its_photo(finished, tmp_path):
    settings = load_settings(None, ["tasks.gender=null", "tasks.age=null"])
    photos = drawn_data(finished.data)[:8]
    names = ["p_mask_wear", "p_mask_incorrect", "p_mask_normal"]
    for number, first in enumerate((0.2, 0.6)):
        (tmp_path / str(number)).mkdir()
        rows = [[photo.name, "s", first, 0.01 * row, 1 - first - 0.01 * row] for row, photo in enumerate(photos)]
        table = pl.DataFrame(rows[:: -1 if number else 1], schema=["path", "source", *names], orient="row")
        table.write_csv(tmp_path / str(number) / "validation.csv")
    context = RunContext(settings, finished.cache, "cpu", console=Console(quiet=True))
    sources = dict.fromkeys([photo.path for photo in photos], "s")
    taught = predict_with_teachers([tmp_path / "0", tmp_path / "1"], photos, tmp_path, context, sources)
    samples = [Sample(photo.name, "", "", (0,), (np.nan,), 0) for photo in reversed(photos)]
    assert taught.of(samples, settings.task_list())[:, 0] == pytest.approx([0.4] * 8)
    assert taught.of(samples, settings.task_list())[:, 1] == pytest.approx([0.01 * row for row in range(7, -1, -1)])


def test_teachers_are_asked_once_unless_they_have_changed(finished, tmp_path, monkeypatch):
    settings = load_settings(None, ["tasks.gender=null", "tasks.age=null"])
    photos = drawn_data(finished.data)[:4]
    context = RunContext(settings, finished.cache, "cpu", console=Console(quiet=True))
    bundle = shutil.copytree(finished.run / "bundle", tmp_path / "bundle")
    sources = source_ids([photo.path for photo in photos], context)
    first = predict_with_teachers([bundle], photos, tmp_path, context, sources)
    assert first.probabilities["mask"].sum(axis=1) == pytest.approx(1)
    monkeypatch.setattr(
        "pipeline.training.teacher_targets.predict_photos", lambda *_, **__: pytest.fail("it was asked again")
    )
    again = predict_with_teachers([bundle], photos, tmp_path, context, sources)
    assert again.rows == first.rows
    assert again.probabilities["mask"].tobytes() == first.probabilities["mask"].tobytes()
    replaced = {**sources, photos[0].path: "another's"}
    with pytest.raises(pytest.fail.Exception, match="asked again"):
        predict_with_teachers([bundle], photos, tmp_path, context, replaced)
    table = pl.read_parquet(tmp_path / TARGETS)
    table.drop("source").write_parquet(tmp_path / TARGETS)
    older = predict_with_teachers([bundle], photos, tmp_path, context, sources)
    assert older.rows == first.rows, "older versions kept no sources"
    for changed in (photos[:3], photos):
        if changed is photos:
            (bundle / "bundle.json").write_text((bundle / "bundle.json").read_text() + " ")
        with pytest.raises(pytest.fail.Exception, match="asked again"):
            predict_with_teachers([bundle], changed, tmp_path, context, sources)


def test_a_teacher_of_other_classes_is_refused(finished, tmp_path):
    with pytest.raises(BundleError, match="does not predict age with the classes young, old"):
        distil(
            finished, tmp_path, "--teacher", finished.run / "bundle",
            "--set", "tasks.age.classes=[young,old]", "--set", "tasks.age.edges=[30]",
        )  # fmt: skip
