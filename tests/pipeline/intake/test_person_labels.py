from pathlib import Path

import pytest

from pipeline.intake.person_labels import find_contradictions
from pipeline.intake.photo import Photo
from pipeline.settings import load_settings

TASKS = load_settings(
    None, ["tasks.smile={classes: [a, b]}", "tasks.height={classes: [low, high], edges: [170], range: [50, 250]}"]
).task_list()


def photos(task, *people):
    """Photos of people, given the labels of each."""
    return [
        Photo(Path(f"{person}-{n}.jpg"), f"{person}-{n}.jpg", f"p{person}", {task: label})
        for person, labels in enumerate(people)
        for n, label in enumerate(labels)
    ]


def found(task, *people):
    return [
        (defect.where, defect.message.split(";")[0]) for defect in find_contradictions(photos(task, *people), TASKS)
    ]


def test_a_person_with_two_genders_is_a_defect_that_names_the_photos():
    [(person, message)] = found("gender", ["male", "male", "female"], ["female", "female"])
    assert person == "p0"
    assert message == "gender is male in 2 (0-0.jpg, 0-1.jpg) and female in 1 (0-2.jpg)"


@pytest.mark.parametrize(("ages", "defects"), [(["20", "25"], 0), ([20, "25.0", 25.5], 1), (["20", "60", "30"], 1)])
def test_ages_more_than_five_years_apart_are_a_defect(ages, defects):
    assert len(found("age", ages)) == defects


def test_the_lowest_and_the_highest_age_are_shown():
    assert found("age", ["30", "20", "60"])[0][1] == "age is 20 in 1 (0-1.jpg) and 60 in 1 (0-2.jpg)"


def test_a_label_that_differs_within_most_people_is_about_the_photo():
    assert found("mask", *[["wear", "normal"]] * 9, ["wear", "wear"]) == []
    assert found("smile", ["a", "b"], ["a", "a"]) == []


def test_a_label_that_almost_all_people_have_once_is_about_the_person():
    assert [person for person, _ in found("smile", ["a", "b"], *[["b", "b"]] * 9)] == ["p0"]
    assert [person for person, _ in found("height", ["150", "190"], *[["180", "181"]] * 9)] == ["p0"]
    assert found("height", ["180", "183"], ["150", "150"], *[["190", "191"]] * 9) == []


def test_unknown_labels_and_single_photos_contradict_nothing():
    assert found("gender", ["male", "mal"], ["female"]) == []
