import pytest

from classify.tasks import Task
from pipeline.intake.unknown_labels import UnknownLabels

GENDER = Task("gender", ("male", "female"))
AGE = Task("age", ("<30", ">=30"), (30,), 0, 120)


def defects(task, *labels):
    unknown = UnknownLabels()
    for number, label in enumerate(labels, start=2):
        unknown.add(task, label, str(number), "Correct them.")
    return list(unknown.defects())


def test_a_wrong_class_name_is_one_line_however_often_it_is_there():
    [defect] = defects(GENDER, *["man"] * 116, *["woman"] * 184)
    assert defect.message == (
        "gender: 'man' x116, 'woman' x184 are none of male, female; did you mean male for 'man' and female for "
        "'woman'? To use the table's words: --set 'tasks.gender.classes=[man, woman]'. Correct them."
    )
    assert defect.where == "2, 3, 4 and 297 more"
    assert defect.fatal


@pytest.mark.parametrize(
    ("label", "guess"),
    [("Femal", "female for 'Femal'"), ("M", "male for 'M'"), ("Frau", ""), ("maile", "male for 'maile'")],
)
def test_a_class_is_guessed_by_meaning_or_spelling(label, guess):
    [defect] = defects(GENDER, label)
    assert (f"did you mean {guess}?" in defect.message) == bool(guess)
    assert "To use the table's words" not in defect.message, "one label can't stand for both classes"


def test_numbers_are_divided_by_what_is_wrong_with_them():
    [defect] = defects(AGE, "old", "150", "150", "-3")
    expected = "age: 'old' x1 is not a number; '150' x2, '-3' x1 are not between 0 and 120. Correct them."
    assert defect.message == expected


def test_many_different_labels_are_shown_in_part():
    [defect] = defects(GENDER, *(f"xx{number}" for number in range(20)))
    assert "'xx7' x1 and 12 others are none of" in defect.message


def test_each_task_has_its_own_line():
    unknown = UnknownLabels()
    unknown.add(GENDER, "x", "2", "a")
    unknown.add(AGE, "y", "2", "a")
    unknown.add(AGE, "y", "3", "b")
    assert [defect.message.split(":")[0] for defect in unknown.defects()] == ["gender", "age", "age"]
