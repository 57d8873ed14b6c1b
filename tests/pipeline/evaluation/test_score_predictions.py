import json

import polars as pl
import pytest

from cache.errors import DataError, UsageError
from pipeline.evaluation.score_predictions import evaluate
from pipeline.settings import load_settings
from tests.pipeline.conftest import faceline

TASKS = load_settings().task_list()


@pytest.fixture
def tables(tmp_path):
    def write(name, **columns):
        pl.DataFrame(columns).write_csv(tmp_path / name)
        return tmp_path / name

    return write


IDS = [f"{i}.jpg" for i in range(18)]


def test_right_answers_score_one_and_the_intervals_agree(tables):
    truth = tables("truth.csv", ImageID=IDS, ans=list(range(18)))
    result = evaluate(tables("pred.csv", ImageID=IDS, ans=list(range(18))), truth, TASKS)
    assert list(result.scores) == ["joint", "mask", "gender", "age"]
    assert all(one.macro_f1 == one.accuracy == 1.0 for one in result.scores.values())


def test_a_submission_and_predictions_score_alike(finished):
    truth = finished.data / "truth" / "eval.csv"
    both = [evaluate(finished.run / name, truth, TASKS) for name in ("predictions.csv", "submission.csv")]
    assert both[0].scores["joint"].macro_f1 == both[1].scores["joint"].macro_f1
    assert both[0].scores["age"].as_json() == both[1].scores["age"].as_json()


def test_answers_per_task_by_name_code_or_number_are_understood(tables):
    pred = tables("pred.csv", ImageID=IDS[:3], ans=[0, 9, 17])
    truth = tables("truth.csv", path=[f"x/{i}" for i in IDS[:3]], mask=["wear", "incorrect", "2"],
                   gender=["male", "1", ""], age=["18", "45", "60"])  # fmt: skip
    result = evaluate(pred, truth, TASKS)
    assert {name: one.accuracy for name, one in result.scores.items()} == {
        "joint": 0.5, "mask": 1.0, "gender": 1.0, "age": pytest.approx(2 / 3)
    }  # fmt: skip


def test_a_photo_without_a_prediction_is_wrong(tables):
    truth = tables("truth.csv", ImageID=IDS, ans=list(range(18)))
    result = evaluate(tables("pred.csv", ImageID=IDS[:9], ans=list(range(9))), truth, TASKS)
    assert result.unanswered == 9
    assert result.scores["joint"].accuracy == 0.5


def test_the_person_column_of_the_answers_makes_the_interval(finished, tmp_path):
    truth = pl.read_csv(finished.data / "truth" / "eval.csv")
    truth.drop("person").write_csv(tmp_path / "nobody.csv")
    known = evaluate(finished.run / "predictions.csv", finished.data / "truth" / "eval.csv", TASKS).scores["gender"]
    unknown = evaluate(finished.run / "predictions.csv", tmp_path / "nobody.csv", TASKS).scores["gender"]
    assert known.macro_f1 == unknown.macro_f1
    assert (known.low, known.high) != (unknown.low, unknown.high)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"ImageID": ["a.jpg"], "ans": [18]}, "row 2: the joint class is '18'"),
        ({"ImageID": ["a.jpg", "a.jpg"], "ans": [1, 2]}, "a.jpg is in two rows"),
        ({"photo": ["a.jpg"], "ans": [1]}, "none of the columns"),
        ({"ImageID": ["a.jpg"], "answer": [1]}, "neither a column"),
        ({"ImageID": ["b.jpg"], "ans": [1]}, "no photo in common"),
        ({"ImageID": ["a.jpg"], "age": ["300"]}, "row 2: age is 300"),
    ],
)
def test_a_table_that_cannot_be_scored_is_refused_with_what_is_wrong(tables, columns, said):
    good = tables("good.csv", ImageID=["a.jpg"], ans=[1])
    with pytest.raises(DataError, match=said):
        evaluate(good, tables("bad.csv", **columns), TASKS)


def test_a_missing_file_is_wrong_use(tmp_path):
    with pytest.raises(UsageError, match="no file"):
        evaluate(tmp_path / "pred.csv", tmp_path / "truth.csv", TASKS)


def test_the_command_ends_with_the_contracts_object(finished):
    truth = finished.data / "truth" / "eval.csv"
    told = json.loads(
        faceline("evaluate", finished.run / "predictions.csv", "--truth", truth, "--json").stdout.splitlines()[-1]
    )
    for name in ("joint", "mask", "gender", "age"):
        assert {"macro_f1", "low", "high", "accuracy"} <= set(told[name])
        assert told[name]["low"] <= told[name]["macro_f1"] <= told[name]["high"]
