import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import DataError
from classify.data.folds import join_people, make_folds


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 30), st.integers(0, 4)), min_size=10), st.integers(0, 99))
def test_no_person_and_no_file_is_on_both_sides(photos, seed):
    people, sources = [f"p{p}" for p, _, _ in photos], [f"s{s}" for _, s, _ in photos]
    groups = join_people(people, sources)
    if len(set(groups.tolist())) < 2:
        return
    folds = make_folds(groups, np.array([c for _, _, c in photos]), folds=5, seed=seed)
    for names in (people, sources):
        for name in set(names):
            assert len({int(f) for f, n in zip(folds, names, strict=True) if n == name}) == 1


def test_two_people_with_an_identical_photo_are_one_group():
    groups = join_people(["a", "a", "b", "b", "c"], ["1", "2", "2", "3", "4"])
    assert groups.tolist() == [0, 0, 0, 0, 1]


def test_every_fold_has_its_share_of_a_rare_class():
    people = np.repeat(np.arange(200), 7)
    classes = np.where(people % 10 == 0, 1, 0)
    folds = make_folds(people, classes, folds=5, seed=0)
    share = [classes[folds == fold].mean() for fold in range(5)]
    assert max(share) - min(share) < 0.02


def test_the_seed_decides_the_folds():
    people = np.repeat(np.arange(50), 3)
    classes = np.tile([0, 1, 2], 50)
    first, again, other = (make_folds(people, classes, folds=5, seed=seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_one_person_cannot_be_split():
    with pytest.raises(DataError, match="nobody is left to validate on"):
        make_folds(np.zeros(7, np.intp), np.zeros(7, np.intp), folds=5, seed=0)
