import json

import numpy as np
import polars as pl
import pytest

from cache.errors import DataError, UsageError
from classify.evaluation.metrics import score
from classify.tasks import Task
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


GENDER = [Task("gender", ("male", "female"))]


def scored(tables, answers, predicted=None, columns=None, tasks=GENDER):
    """Scores of predictions for p0/1.jpg ... p3/1.jpg, all right."""
    if predicted is None:
        predicted = {"path": [f"p{i}/1.jpg" for i in range(4)], "gender": ["male", "female"] * 2}
    pred = tables("predictions.csv", **predicted)
    return evaluate(pred, tables("truth.csv", **answers), tasks, columns or {})


def test_blank_rows_of_a_spreadsheet_are_no_photos_in_either_table(tables):
    blank = {"path": ["p0/1.jpg", None, "p1/1.jpg", "", " "], "gender": ["male", None, "female", "", None]}
    for result in (scored(tables, blank), scored(tables, blank, blank)):
        assert (result.photos, result.matched, result.unanswered) == (2, 2, 0)
        assert result.scores["gender"].accuracy == 1.0
    with pytest.raises(DataError, match=r"truth\.csv, row 3: path is empty"):
        scored(tables, {"path": ["p0/1.jpg", ""], "gender": ["male", "female"]})


def test_the_settings_columns_are_those_of_the_answers(tables):
    answers = {"filename": ["p0/1.jpg", "p1/1.jpg", "p2/1.jpg"], "customer": ["ann", "ann", "bob"],
               "person": ["x", "y", "z"], "sex": ["male", "female", "female"]}  # fmt: skip
    columns = {"path": "filename", "person": "customer", "gender": "sex"}
    people = ["ann", "ann", "bob"]
    result = scored(tables, answers, columns=columns)
    true, predicted = np.array([0, 1, 1]), np.array([0, 1, 0])
    assert result.scores["gender"].as_json() == score(true, predicted, people, 2).as_json()
    assert not any("people" in remark for remark in result.remarks)


def test_without_a_column_of_people_one_line_says_so(tables):
    result = scored(tables, {"path": ["p0/1.jpg"], "gender": ["male"]})
    assert any("no column of people" in remark and "data.columns.person" in remark for remark in result.remarks)


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_answers_are_read_like_any_other_table(tables, tmp_path, separator, bom):
    truth = tmp_path / "answers.csv"
    rows = [["path", "gender"], ["p0/1.jpg", " male "], ["p1/1.jpg", "female"]]
    truth.write_text(bom + "\r\n".join(separator.join(row) for row in rows), encoding="utf-8")
    pred = tables("predictions.csv", path=["p0/1.jpg", "p1/1.jpg"], gender=["male", "female"])
    assert evaluate(pred, truth, GENDER).scores["gender"].accuracy == 1.0


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        (("0", "1"), ["0.0", "1.0"]),
        (("no", "yes"), ["False", "True"]),
        (("male", "female"), ["0", "1"]),
        (("m\u00e9n", "w\u00f6man"), ["me\u0301n", "wo\u0308man"]),
    ],
)
def test_labels_are_the_classes_that_intake_would_read(tables, classes, labels):
    predicted = {"path": ["a.jpg", "b.jpg"], "smile": list(classes)}
    answers = {"path": ["a.jpg", "b.jpg", "c.jpg"], "smile": [*labels, "nan"]}
    result = scored(tables, answers, predicted, tasks=[Task("smile", classes)])
    assert result.scores["smile"].accuracy == 1.0
    assert result.photos == 2
    assert result.remarks[0].endswith("has no label for 1 photo: not scored")


def test_a_joint_class_that_pandas_wrote_as_a_float_is_one(tables):
    answers = {"ImageID": ["p0/1.jpg", "p1/1.jpg"], "ans": ["0.0", "1.0"]}
    assert scored(tables, answers).scores["joint"].accuracy == 1.0


def test_numeric_classes_of_a_numeric_label_are_names_where_all_cells_are(tables):
    task = Task("age", ("0", "1", "2"), (30, 60), 0, 120)
    predicted = {"path": ["a.jpg", "b.jpg", "c.jpg"], "age": ["0", "1", "2"]}
    for labels in (["0", "1", "2"], ["2", "45", "80"]):
        answers = {"path": ["a.jpg", "b.jpg", "c.jpg"], "age": labels}
        assert scored(tables, answers, predicted, tasks=[task]).scores["age"].accuracy == 1.0


def test_what_is_not_scored_is_counted(tables):
    result = scored(tables, {"path": ["p0/1.jpg", "p9/1.jpg"], "person": ["a", "b"], "gender": ["male", "male"]})
    assert (result.photos, result.matched, result.unanswered) == (2, 1, 1)
    assert result.remarks == (f"{tables('truth.csv')} does not list the photos of 3 predictions: not scored",)


def test_a_task_that_one_table_lacks_is_named(tables):
    both = [*GENDER, Task("smile", ("no", "yes"))]
    result = scored(tables, {"path": ["p0/1.jpg"], "gender": ["male"]},
                    {"path": ["p0/1.jpg"], "gender": ["male"], "smile": ["no"]}, tasks=both)  # fmt: skip
    assert list(result.scores) == ["gender"]
    assert "no column for smile" in result.remarks[0]
    with pytest.raises(DataError, match=r"predictions\.csv has no column for smile.*tasks\.smile=null"):
        scored(tables, {"path": ["p0/1.jpg"], "gender": ["male"], "smile": ["no"]}, tasks=both)
    with pytest.raises(DataError, match="no label for any photo"):
        scored(tables, {"path": ["p0/1.jpg"], "gender": [""]})


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
