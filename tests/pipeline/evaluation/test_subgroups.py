import polars as pl
import pytest

from classify.tasks import Task
from pipeline.evaluation.subgroups import group_table
from pipeline.evaluation.validation_table import read_validation

TASKS = [Task("mask", ("wear", "normal")), Task("age", ("<30", ">=30"), (30,), 0, 120)]


def validation(tmp_path, stems):
    """Ten young people who are told right and two old ones of whom one is."""
    rows = [
        {"path": f"p{person}/{stem}.jpg", "person": f"p{person}", "true_mask": 0, "true_age": int(person >= 10),
         "class": int(person == 11)}
        for person in range(12)
        for stem in stems(person)
    ]  # fmt: skip
    path = tmp_path / "validation.csv"
    pl.DataFrame(rows).write_csv(path)
    return read_validation(path, TASKS)


def test_the_worst_group_comes_first_with_an_interval_over_people(tmp_path):
    table = group_table(validation(tmp_path, lambda _: ["mask1", "mask5"]), TASKS)
    assert table["group"].to_list() == ["mask1 wear >=30", "mask5 wear >=30", "mask1 wear <30", "mask5 wear <30"]
    worst = table.row(0, named=True)
    assert (worst["photos"], worst["people"], worst["accuracy"]) == (2, 2, 0.5)
    assert (worst["low"], worst["high"]) == (0, 1), "two people tell next to nothing"
    assert (worst["right_mask"], worst["right_age"]) == (1, 0.5)
    best = table.row(3, named=True)
    assert (best["accuracy"], best["low"], best["high"]) == (1, 1, 1)


def test_names_that_say_nothing_of_the_kind_are_left_out(tmp_path):
    table = group_table(validation(tmp_path, lambda person: [f"{person}a", f"{person}b"]), TASKS)
    assert table["group"].to_list() == ["wear >=30", "wear <30"]
    assert table["photos"].to_list() == [4, 20]


def test_photos_without_a_label_are_in_no_group(tmp_path):
    told = validation(tmp_path, lambda _: ["mask1"])
    told.codes["age"][0][:10] = -1
    assert group_table(told, TASKS)["photos"].sum() == pytest.approx(2)
