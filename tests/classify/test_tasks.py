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
