"""Predictions are scored with the classes and bins that they were made with."""

import json

import polars as pl
import pytest
import yaml

from cache.errors import DataError, UsageError
from classify.tasks import Task
from pipeline.evaluation.scored_tasks import scored_tasks
from pipeline.prediction.prediction_record import PredictionRecord, read_record, write_record
from pipeline.settings import given_settings, load_settings
from tests.pipeline.conftest import faceline

AGE = Task("age", ("<35", "35-59", ">=60"), (35, 60), 0, 120)
GENDER = Task("gender", ("male", "female"))
COUNTS = {"ok": 3, "no_face": 0, "unreadable": 0}
SETTINGS = {"flip": True, "calibrate": True, "decide": "probable", "unsure": 0.0}


@pytest.fixture
def predictions(tmp_path):
    """predictions.csv of two tasks, with bins of 35 and 60: three people of 20, 33 and 70 years, all right."""
    ages = [0, 0, 2]
    columns = {"path": ["a.jpg", "b.jpg", "c.jpg"], "status": "ok", "gender": "male", "p_gender_male": 1.0,
               "p_gender_female": 0.0, "age": [AGE.classes[code] for code in ages],
               **{f"p_age_{name}": [float(code == i) for code in ages] for i, name in enumerate(AGE.classes)},
               "class": ages}  # fmt: skip
    pl.DataFrame(columns).write_csv(tmp_path / "predictions.csv")
    submission = pl.DataFrame({"ImageID": columns["path"], "ans": ages})
    submission.write_csv(tmp_path / "submission.csv")
    truth = {"path": columns["path"], "person": ["a", "b", "c"], "gender": "male", "age": [20, 33, 70]}
    pl.DataFrame(truth).write_csv(tmp_path / "truth.csv")
    folders = {"run/bundle": "0" * 64}
    write_record(PredictionRecord(folders, (GENDER, AGE), SETTINGS, COUNTS, 0, submission=True), tmp_path)
    return tmp_path / "predictions.csv"


def tasks_of(predictions, tree=None, *overrides):
    file = None
    if tree is not None:
        file = predictions.with_name("settings.yaml")
        file.write_text(yaml.safe_dump(tree))
    given = given_settings(file, overrides)
    return scored_tasks(predictions, load_settings(file, overrides), given.get("tasks") or {})


def evaluated(predictions, *words):
    printed = faceline("evaluate", predictions, "--truth", predictions.with_name("truth.csv"), "--json", *words)
    return json.loads(printed.stdout.splitlines()[-1])


def test_a_record_is_read_as_it_was_written(predictions):
    record = read_record(predictions)
    assert record is not None
    assert record.tasks == (GENDER, AGE)
    assert (record.settings, record.counts, record.trained_on, record.submission) == (SETTINGS, COUNTS, 0, True)
    assert read_record(predictions.with_name("truth.csv")) is None


def test_without_settings_the_record_gives_classes_and_bins(predictions):
    assert tasks_of(predictions)[0] == [GENDER, AGE]
    for name in ("predictions.csv", "submission.csv"):
        scores = evaluated(predictions.with_name(name))
        assert scores["age"]["accuracy"] == scores["joint"]["accuracy"] == 1.0
        assert "mask" not in scores


@pytest.mark.parametrize(
    "tree",
    [
        {"data": {"columns": {"age": "years"}}},
        {"train": {"epochs": 3}, "tasks": {"age": {"head": {"weight": 2.0}}, "mask": {"augment": {"balance": 1.0}}}},
        {"tasks": {"mask": None, "age": {"classes": list(AGE.classes), "edges": [35, 60]}}},
    ],
)
def test_settings_that_do_not_contradict_the_record_are_fine(predictions, tree):
    assert tasks_of(predictions, tree)[0] == [GENDER, AGE]


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"tasks": {"age": {"edges": [30, 60]}}}, r"<35, 35-59, >=60 \(from 35, 60\), and the settings have age <30"),
        ({"tasks": {"gender": {"classes": ["female", "male"]}}}, "male, female, and the settings have gender female"),
        ({"tasks": {"smile": {"classes": ["no", "yes"]}}}, "not at all, and the settings have smile no, yes"),
        ({"tasks": {"gender": None}}, "gender male, female, and the settings leave it out"),
    ],
)  # fmt: skip
def test_settings_that_contradict_the_record_are_refused_naming_both(predictions, tree, said):
    with pytest.raises(UsageError, match=said):
        tasks_of(predictions, tree)


def test_an_option_contradicts_the_record_like_a_file(predictions):
    with pytest.raises(UsageError, match="another task age"):
        tasks_of(predictions, None, "tasks.age.edges=[30,60]")


def test_only_the_range_of_numbers_may_be_another_one(predictions):
    [_, age] = tasks_of(predictions, None, "tasks.age.range=[0,150]")[0]
    assert (age.edges, age.high) == (AGE.edges, 150)


@pytest.mark.parametrize("name", ["predictions.csv", "other.csv"])
def test_without_a_record_the_settings_must_fit_the_columns(predictions, name):
    predictions.with_name("predictions.json").unlink()
    table = predictions.rename(predictions.with_name(name))
    with pytest.raises(UsageError, match=r"(?s)than the settings: mask wear.*p_age_<35.*lacks p_mask_wear"):
        tasks_of(table)
    fitting = {"tasks": {"mask": None, "age": {"classes": list(AGE.classes), "edges": [35, 60]}}}
    tasks, source = tasks_of(table, fitting)
    assert tasks == [GENDER, AGE]
    assert "no predictions.json" in source


def test_a_record_of_another_table_is_refused(predictions):
    write_record(PredictionRecord({}, (GENDER,), SETTINGS, COUNTS, 0), predictions.parent)
    with pytest.raises(UsageError, match=r"(?s)other classes than predictions\.json.*Delete predictions\.json"):
        tasks_of(predictions)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1, "bundles": [], "tasks": {"age": 3}}'])
def test_a_damaged_record_is_an_error_in_words(predictions, content):
    predictions.with_name("predictions.json").write_text(content)
    with pytest.raises(DataError, match=r"predictions\.json lacks or misstates"):
        read_record(predictions)


def test_a_record_of_a_newer_version_is_refused(predictions):
    path = predictions.with_name("predictions.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(DataError, match="newer faceline"):
        read_record(predictions)


def test_a_submission_of_photos_that_were_trained_on_says_so(predictions):
    write_record(PredictionRecord({}, (GENDER, AGE), SETTINGS, COUNTS, 2, submission=True), predictions.parent)
    scores = evaluated(predictions.with_name("submission.csv"))
    assert scores["trained_on"] == 2
    assert any("2 of the 3 photos" in remark for remark in scores["remarks"])
    write_record(PredictionRecord({}, (GENDER, AGE), SETTINGS, COUNTS, None, submission=True), predictions.parent)
    scores = evaluated(predictions.with_name("submission.csv"))
    assert scores["trained_on"] is None
    assert any("not known" in remark for remark in scores["remarks"])
