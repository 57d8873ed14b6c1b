"""What a review goes through: suspects, mistakes and queries, as cases of people or photos."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from cache.errors import BundleError, DataError, UsageError
from pipeline.labels.review_query import QueryTable
from pipeline.settings import load_settings
from tests.pipeline.conftest import faceline
from tests.pipeline.labels.conftest import MARKUP, load


def described(review, cases):
    return [
        (case.task.name, sorted({review.held_out.photos[row].person for row in case.rows}), len(case.rows),
         [case.task.classes[code] for code in dict.fromkeys(case.suggested)])
        for case in cases
    ]  # fmt: skip


def copy_of(reviewed, tmp_path):
    """The run in a folder that a test may harm."""
    return shutil.copytree(reviewed.run, tmp_path / "run")


def test_suspects_are_people_and_swapped_photos(review):
    found = described(review, review.suspects())
    assert sorted(found) == [
        ("gender", ["<b>00</b>"], 3, ["female"]),
        ("gender", ["<b>01</b>"], 3, ["male"]),
        ("mask", ["<b>00</b>"], 2, ["normal", "incorrect"]),
    ]
    assert [case.score for case in review.suspects()] == sorted(case.score for case in review.suspects())


def test_mistakes_are_all_photos_of_a_person_where_the_label_is_the_persons(review):
    found = described(review, review.mistakes())
    assert sorted(found) == [
        ("gender", ["<b>00</b>"], 3, ["female"]),
        ("gender", ["<b>01</b>"], 3, ["male"]),
        ("mask", ["<b>00</b>"], 1, ["incorrect"]),
        ("mask", ["<b>00</b>"], 1, ["normal"]),
    ]
    gender = next(case for case in review.mistakes() if case.task.name == "gender")
    assert review.others(gender) == []
    mask = next(case for case in review.mistakes() if case.task.name == "mask")
    assert len(review.others(mask)) == 2


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("gender = female AND p < 0.6", {("gender", "<b>01</b>")}),
        ("gender = 'female' AND p_gender < 0.6", {("gender", "<b>01</b>")}),
        ("NOT right AND task = 'mask'", {("mask", "<b>00</b>")}),
        ("age > 60", {("age", "<b>02</b>"), ("age", "<b>05</b>")}),
        ('given_age = ">=60" and predicted_age = given_age', {("age", "<b>02</b>"), ("age", "<b>05</b>")}),
        ("p < 0.5", {("gender", "<b>00</b>"), ("gender", "<b>01</b>"), ("mask", "<b>00</b>")}),
        (f"path = '{MARKUP}' AND mask = NORMAL", {("mask", "<b>05</b>")}),
        ("gender = female AND p > 1", set()),
    ],
)
def test_a_query_finds_labels(review, query, expected):
    cases = review.query(query)
    assert {(case.task.name, review.held_out.photos[case.rows[0]].person) for case in cases} == expected
    assert all(len(case.rows) == (1 if case.task.name == "mask" else 3) for case in cases)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("colour = red", r'unable to find column "colour"'),
        ("gender = ", "can't be answered"),
        ("p", "it must be true or false for every photo"),
        ("gender = female; drop", "can't be answered"),
        ("gender = female right", "an AND or OR is missing before 'right'"),
        ("p < (SELECT 1 FROM read_csv('/etc/passwd'))", "'SELECT' is not allowed"),
        ("age = female", "cannot compare string with numeric type"),
        ("", "can't be answered"),
    ],
)
def test_a_query_that_is_no_condition_says_why_and_how_to_write_one(review, query, reason):
    with pytest.raises(UsageError, match=reason) as raised:
        review.query(query)
    assert "Write a condition as in 'gender = female AND p < 0.6', on the columns task, given, " in str(raised.value)


def test_a_word_that_is_a_class_and_a_column_is_quoted(review):
    gender = next(task for task in review.tasks if task.name == "gender")
    table = QueryTable(review.held_out, [replace(gender, classes=("right", "gender"))], review.codes)
    found = table.rows('"gender" = \'right\' AND NOT "right"')["gender"]
    assert {review.held_out.photos[row].person for row in found} == {"<b>00</b>"}
    for query, word in (('"gender" = right', "right"), ("gender = 'right'", "gender")):
        with pytest.raises(UsageError, match=f"{word} is a class and a column. Write '{word}' for the class"):
            table.rows(query)


def test_corrections_that_were_applied_before_are_the_given_labels(reviewed, tmp_path):
    (tmp_path / "c.csv").write_text("task,person,label\ngender,<b>00</b>,female\n")
    settings = load_settings(None, [f"data.corrections=[{tmp_path / 'c.csv'}]"])
    again = load(SimpleNamespace(run=reviewed.run, settings=settings), tmp_path)
    assert "<b>00</b>" not in {
        again.held_out.photos[case.rows[0]].person for case in again.suspects() if case.task.name == "gender"
    }


def test_an_unfinished_a_damaged_and_a_run_that_held_nobody_out_are_said_to_be_so(reviewed, tmp_path):
    run = copy_of(reviewed, tmp_path)
    (run / "validation.csv").unlink()
    with pytest.raises(
        BundleError, match=r"held nobody out: there is no validation\.csv in it\.\n.* split\.held_out=0"
    ):
        faceline("review", run, "--static", tmp_path / "page.html")
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"status": "started"}))
    with pytest.raises(BundleError, match=r"is an unfinished run: .*needs predictions for held-out people"):
        faceline("review", run, "--static", tmp_path / "page.html")
    (run / "run.json").write_text("{")
    with pytest.raises(BundleError, match=r"is a damaged run: run\.json can't be read"):
        faceline("review", run, "--static", tmp_path / "page.html")
    (run / "run.json").write_text(json.dumps(record))
    content = (reviewed.run / "validation.csv").read_text()
    for cell in ("", "NaN"):
        (run / "validation.csv").write_text(content.replace("0.9,", f"{cell},", 1))
        with pytest.raises(BundleError, match=r"validation\.csv lacks probabilities of p00/wear\.jpg; train again"):
            faceline("review", run, "--static", tmp_path / "page.html")
    (run / "validation.csv").write_bytes(b'path\n"a')
    with pytest.raises(BundleError, match=r"validation\.csv is damaged \("):
        faceline("review", run, "--static", tmp_path / "page.html")
    (run / "validation.csv").write_text("path,person\n")
    with pytest.raises(DataError, match="none of the 0 held-out photos"):
        faceline("review", run, "--static", tmp_path / "page.html")
    (run / "validation.csv").write_text("path,person,source\np00/wear.jpg,a,b\n")
    with pytest.raises(BundleError, match=r"validation\.csv does not fit the settings"):
        faceline("review", run, "--static", tmp_path / "page.html")
    with pytest.raises(BundleError, match="holds no finished run"):
        faceline("review", tmp_path, "--static", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_photos_that_were_moved_are_said_and_found_with_data(reviewed, tmp_path):
    run = copy_of(reviewed, tmp_path)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"data": str(tmp_path / "gone.csv")}))
    with pytest.raises(UsageError, match=r"was trained on .*gone\.csv, which is not there any more; .*--data DATA"):
        faceline("review", run, "--static", tmp_path / "page.html")
    moved = shutil.copytree(reviewed.data.parent, tmp_path / "moved")
    (moved / "p03" / "wear.jpg").unlink()
    (moved / "p04" / "wear.jpg").write_bytes((moved / "p00" / "wear.jpg").read_bytes())
    result = faceline("review", run, "--data", moved / "labels.csv", "--static", tmp_path / "page.html")
    assert "1 of 18 held-out photos are not in" in result.stderr
    assert "p03/wear.jpg" in result.stderr
    assert "other files than those that were held out: 1, such as p04/wear.jpg" in result.stderr
    (moved / "p00" / "wear.jpg").rename(moved / "other.jpg")
    (moved / "labels.csv").write_text("path,person,mask,gender,age\nother.jpg,x,wear,male,20\n")
    with pytest.raises(DataError, match=r"none of the 18 held-out photos of .* is a labelled photo of"):
        faceline("review", run, "--data", moved / "labels.csv", "--static", tmp_path / "page.html")
