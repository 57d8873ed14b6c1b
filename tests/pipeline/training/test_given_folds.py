from pathlib import Path
from types import SimpleNamespace

import pytest

from cache.errors import DataError, UsageError
from classify.data.folds import join_people
from pipeline.intake.photo import Photo
from pipeline.settings import load_settings
from pipeline.training.given_folds import given_folds

PEOPLE = ("al", "al", "bo", "bo", "cy", "cy")


def photos(held_out=(None,) * 6):
    return [
        Photo(Path(f"/d/{person}/{n}.jpg"), f"{person}/{n}.jpg", person, held_out=part)
        for n, (person, part) in enumerate(zip(PEOPLE, held_out, strict=True))
    ]


def folds_of(some_photos, *overrides):
    """The folds, and the warnings that were printed."""
    warnings = []
    console = SimpleNamespace(warn=warnings.append, line=warnings.append)
    context = SimpleNamespace(settings=load_settings(None, overrides), console=console)
    groups = join_people([p.person for p in some_photos], [p.name for p in some_photos]).tolist()
    folds = given_folds(some_photos, groups, context)
    return None if folds is None else folds.tolist(), warnings


@pytest.fixture
def table(tmp_path):
    def write(folds, names=None):
        names = names or [photo.name for photo in photos()]
        lines = [f"{name},x,{fold}" for name, fold in zip(names, folds, strict=True)]
        (tmp_path / "folds.csv").write_text("\n".join(["path,person,fold", *lines]))
        return f"split.folds_file={tmp_path / 'folds.csv'}"

    return write


def test_nobody_gives_folds():
    assert folds_of(photos()) == (None, [])


@pytest.mark.parametrize(("held_out", "folds"), [(0, [1, 1, 1, 1, 0, 0]), (2, [3, 3, 3, 3, 2, 2])])
def test_the_data_set_s_validation_part_is_the_held_out_fold(held_out, folds):
    parts = photos([False, False, False, False, True, True])
    assert folds_of(parts, f"split.held_out={held_out}") == (folds, [])


def test_there_is_nothing_else_to_hold_out():
    with pytest.raises(UsageError, match=r"--set split\.held_out=0"):
        folds_of(photos([True] * 3 + [False] * 3), "split.held_out=all")


def test_people_on_both_sides_are_named():
    _, [warning] = folds_of(photos([True, False, False, False, True, False]))
    assert warning == "2 people have photos in the held-out part and the rest (al, cy); scores come out too good"
    assert folds_of(photos([True, False, False, False, True, False]), "split.held_out=null")[1] == []


def test_the_folds_of_a_table_are_obeyed(table):
    assert folds_of(photos(), table([0, 0, 1, 1, 2, 2])) == ([0, 0, 1, 1, 2, 2], [])
    assert folds_of(photos(), table(["0", "0.0", "1.0", 1, 2, 2]), "split.held_out=2")[0] == [0, 0, 1, 1, 2, 2]
    _, [warning] = folds_of(photos(), table([0, 1, 1, 1, 2, 2]))
    assert "1 person has photos in several folds (al)" in warning


def test_the_folds_of_a_table_replace_the_data_set_s_validation_part_with_a_line(table):
    folds, [line] = folds_of(photos([True] * 2 + [False] * 4), table([1, 1, 0, 0, 2, 2]))
    assert folds == [1, 1, 0, 0, 2, 2]
    assert "replace the data set's own validation part" in line


def test_the_order_and_the_folders_of_the_table_do_not_matter(table):
    names = [f"set/{photo.name}" for photo in photos()][::-1]
    assert folds_of(photos(), table([2, 2, 1, 1, 0, 0], names))[0] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("folds", "overrides", "message"),
    [
        ([1, 1, 2, 2, 3, 3], [], r"the folds in .*folds\.csv are 1, 2, 3; use --set split\.held_out=1"),
        ([0, 0, 1, 1, 2, 2], ["split.held_out=all"], r"split\.folds=3"),
        ([0, 0, 1, 1, 2, 2], ["split.held_out=all", "split.folds=2"], r"has 3 folds.*split\.folds=3"),
    ],
)
def test_a_fold_that_nobody_is_in_cannot_be_held_out(table, folds, overrides, message):
    with pytest.raises(UsageError, match=message):
        folds_of(photos(), table(folds), *overrides)


def test_a_photo_without_a_fold_and_a_fold_that_is_no_number_are_named(table):
    with pytest.raises(DataError, match=r"names no fold for cy/4\.jpg, cy/5\.jpg; add a row"):
        folds_of(photos(), table([0, 0, 1, 1], [photo.name for photo in photos()][:4]))
    for wrong in ("a", "-1", "0.5", "", "nan", "inf"):
        with pytest.raises(DataError, match=r"folds\.csv, row 4: the fold is"):
            folds_of(photos(), table([0, 0, wrong, 1, 2, 2]))
