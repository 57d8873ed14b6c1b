import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classify.tasks import UNLABELLED, Task, encode_labels, joint_class, joint_names, split_joint

MASK = Task("mask", ("wear", "incorrect", "normal"))
GENDER = Task("gender", ("male", "female"))
AGE = Task("age", ("<30", "30-59", ">=60"), (30, 60), 0, 120)
TASKS = (MASK, GENDER, AGE)


@pytest.mark.parametrize(("age", "code"), [(18, 0), (29.9, 0), ("30", 1), (59, 1), (60, 2), ("60.0", 2)])
def test_an_age_belongs_to_the_class_whose_edge_it_reaches(age, code):
    assert AGE.encode(age) == code


@pytest.mark.parametrize(("label", "error"), [("121", "between 0 and 120"), ("-1", "between"), ("old", "not a number")])
def test_an_invalid_age_is_refused_with_the_reason(label, error):
    with pytest.raises(ValueError, match=error):
        AGE.encode(label)


def test_an_unknown_class_is_refused_with_a_list_of_the_classes():
    with pytest.raises(ValueError, match="wear, incorrect, normal"):
        MASK.encode("weard")


def test_the_joint_class_is_the_competitions():
    assert joint_class(TASKS, (2, 1, 2)) == 2 * 6 + 1 * 3 + 2
    assert joint_names(TASKS)[17] == "normal female >=60"


@given(st.integers(0, 17))
def test_a_joint_class_splits_into_its_codes(joint):
    assert joint_class(TASKS, split_joint(TASKS, joint)) == joint


def test_a_missing_label_leaves_that_task_and_the_joint_class_out():
    codes = encode_labels(TASKS, {"mask": "normal", "age": 40})
    assert codes == (2, UNLABELLED, 1)
    assert joint_class(TASKS, codes) == UNLABELLED


MINJI = ("\ubbfc\uc9c0", "\uc11c\uc900")  # composed


@pytest.mark.parametrize(
    ("classes", "label", "name"),
    [
        (("0", "1"), "1.0", "1"),
        (("0", "1"), 0.0, "0"),
        (("0", "1"), 1, "1"),
        (("0", "1"), "True", "1"),
        (("0", "1"), "FALSE", "0"),
        (("1.0", "2.0"), "2", "2.0"),
        (("01", "02"), "2", "02"),
        (("-1", "1"), "-1.0", "-1"),
        (("0", "1", "2"), "2.0", "2"),
        (("false", "true"), "True", "true"),
        (("True", "False"), "true", "True"),
        (("no", "yes"), True, "yes"),
        (("yes", "no"), "False", "no"),
        (("no", "yes"), "0.0", "no"),
        (("male", "female"), " female ", "female"),
        (("male", "female"), "1", "female"),
        (("male", "female"), "0.0", "male"),
        (MINJI, unicodedata.normalize("NFD", MINJI[0]), MINJI[0]),
        ((" male", "female"), "male", " male"),
    ],
)
def test_a_class_is_named_in_the_ways_in_which_programs_write_it(classes, label, name):
    task = Task("task", classes)
    assert task.classes[task.encode(label)] == name


@pytest.mark.parametrize(
    ("classes", "label"),
    [
        (("male", "female"), "Male"),
        (("male", "female"), "2"),
        (("male", "female"), "-1"),
        (("male", "female"), "True"),
        (("male", "female"), "0.5"),
        (("1", "2"), "0"),  # a class index would be another class than the number
        (("true", "false"), "0"),  # false, or the first class?
        (("0", "1", "2"), "True"),
        (("1", "1.0"), "01"),
    ],
)
def test_a_label_that_names_no_class_or_two_is_refused(classes, label):
    with pytest.raises(ValueError, match="which is none of"):
        Task("task", classes).encode(label)


@pytest.mark.parametrize("cell", [None, "", "  ", "nan", "NaN", "None", "NULL", "<NA>", float("nan")])
def test_what_programs_write_for_an_empty_cell_is_no_label(cell):
    assert GENDER.is_empty(cell)
    assert AGE.is_empty(cell)


def test_an_empty_cell_s_word_is_a_label_where_a_class_has_that_name():
    glasses = Task("glasses", ("none", "sun"))
    assert glasses.is_empty("")
    assert not glasses.is_empty("none")
    assert not glasses.is_empty("None")  # most likely the class: refused as an unknown label, not left out
    assert not GENDER.is_empty("none")


def test_a_number_of_a_task_with_edges_is_its_label_and_never_a_class_index():
    assert AGE.class_index("1") is None
    assert AGE.class_index(" 30-59 ") == 1
    assert AGE.encode("1") == 0
