import unicodedata

import pytest

from cache.errors import DataError
from pipeline.evaluation.photo_names import match_photos


def match(first, second):
    return match_photos(first, second, "P", "T")


@pytest.mark.parametrize(
    ("first", "second", "rows"),
    [
        (["a.jpg", "b.jpg"], ["b.jpg", "c.jpg", "a.jpg"], [1, None, 0]),
        (["P0/1.jpg", "P1/2.jpg"], ["P0/1.jpg", "P0/2.jpg", "P1/1.jpg", "P1/2.jpg"], [0, None, None, 1]),
        # The tables start from different folders
        (["eval/images/a.jpg", "eval/images/b.jpg"], ["images/b.jpg"], [1]),
        (["alice/1.jpg", "bob/1.jpg"], ["/data/set/bob/1.jpg", "/data/set/alice/1.jpg"], [1, 0]),
        (["alice/1.jpg", "2.jpg"], ["img/2.jpg", "img/alice/1.jpg"], [1, 0]),
        (["img/a/1.jpg"], ["../img/a/1.jpg"], [0]),
        (["img/a.jpg", "img/b.jpg"], ["./img/b.jpg", "img//a.jpg"], [1, 0]),
        (["img/f.jpg", "img/g.jpg"], ["img\\g.jpg", "C:\\data\\img\\f.jpg"], [1, 0]),
        # Bare names
        (["eval/images/a.jpg", "eval/images/b.jpg"], ["b.jpg", "a.jpg", "c.jpg"], [1, 0, None]),
        (["a.jpg", "b.jpg"], ["x/a.jpg", "y/b.jpg"], [0, 1]),
        # Spelling
        ([unicodedata.normalize("NFD", "민지.jpg")], [unicodedata.normalize("NFC", "민지.jpg")], [0]),
        (["img/f00.jpg", "img/f01.jpg"], ["img/f01.jpg", "img/f00.JPG"], [1, 0]),
        (["img/f00.jpg", "img/f01.jpg"], ["f01", "f00"], [1, 0]),
        (["a.jpg", "A.jpg"], ["A.jpg", "a.jpg"], [1, 0]),
    ],
)
def test_names_of_one_photo_are_joined_and_no_others(first, second, rows):
    assert match(first, second) == rows
    assert match(second, first) == [rows.index(row) if row in rows else None for row in range(len(first))]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["bob/1.jpg"], ["alice/1.jpg"]),
        (["bob/photos/1.jpg"], ["alice/photos/1.jpg"]),
        (["bob/1.jpg", "2.jpg"], ["alice/1.jpg", "alice/2.jpg"]),
        (["1.jpg"], ["alice/1.jpg", "bob/1.jpg"]),
        (["a.jpg"], ["a.png"]),
        (["a.jpg", "A.JPG"], ["A.jpg"]),
        (["a"], ["a.jpg", "a.png"]),
    ],
)
def test_photos_that_only_share_a_file_name_are_not_joined(first, second):
    for pair in ((first, second), (second, first)):
        with pytest.raises(DataError, match="no photo in common") as error:
            match(*pair)
        assert all(names[0] in str(error.value) for names in pair)


def test_a_name_in_two_rows_is_refused_in_any_form():
    nfc, nfd = (unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD"))
    with pytest.raises(DataError, match=r"T: .* is in two rows"):
        match(["a.jpg"], [nfc, nfd])


def test_the_error_shows_three_names_of_each_table():
    with pytest.raises(DataError) as error:
        match([f"bob/{i}.jpg" for i in range(9)], [f"alice/{i}.jpg" for i in range(2)])
    assert "bob/0.jpg, bob/1.jpg, bob/2.jpg, ... in the first" in str(error.value)
    assert "alice/0.jpg, alice/1.jpg in the second" in str(error.value)
