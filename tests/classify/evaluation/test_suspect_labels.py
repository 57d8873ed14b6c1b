import sys

import numpy as np
import pytest

from cache.errors import UsageError
from classify.evaluation.suspect_labels import find_suspects, is_label_of_person


def probabilities_of(codes, sure=0.9, classes=2):
    """Probabilities (N, classes) that predict `codes`."""
    probabilities = np.full((len(codes), classes), (1 - sure) / (classes - 1))
    probabilities[np.arange(len(codes)), codes] = sure
    return probabilities


def people_with_photos(people=40, photos=7):
    """Codes and names of people of two classes in turn, `photos` of each."""
    codes = np.repeat(np.arange(people) % 2, photos)
    return codes, [f"p{row // photos:02}" for row in range(people * photos)]


def noisy(codes, rng, classes=2):
    """The probabilities of a fair network: right for most photos, never quite sure."""
    logits = rng.normal(0, 1, (len(codes), classes))
    logits[np.arange(len(codes)), codes] += 2.5
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_people_with_a_wrong_label_come_first_with_all_their_photos():
    codes, people = people_with_photos()
    given = codes.copy()
    for person in (3, 17):
        given[person * 7 : person * 7 + 7] = 1 - given[person * 7]
    found = find_suspects(noisy(codes, np.random.default_rng(0)), given, people)
    assert found.by_person
    assert {suspect.rows for suspect in found.ranked[:2]} == {tuple(range(21, 28)), tuple(range(119, 126))}
    assert found.ranked[0].suggested == (1 - given[found.ranked[0].rows[0]],) * 7
    assert found.ranked[1].score < 0.1
    assert not [suspect for suspect in found.ranked[2:] if suspect.score < 0.3]


def test_clean_labels_leave_no_confident_suspects():
    codes, people = people_with_photos()
    found = find_suspects(noisy(codes, np.random.default_rng(1)), codes, people)
    assert not [suspect for suspect in found.ranked if suspect.score < 0.3]


def test_a_single_sure_photo_does_not_decide_for_its_person():
    codes, people = people_with_photos(people=4)
    probabilities = probabilities_of(codes)
    probabilities[0] = (0, 1)
    assert not find_suspects(probabilities, codes, people).ranked


def test_a_photo_with_another_label_than_its_person_is_judged_by_all_photos_of_the_person():
    codes, people = people_with_photos(people=40)
    given = codes.copy()
    given[10] = 0
    probabilities = probabilities_of(codes)
    probabilities[10] = (0.6, 0.4)
    found = find_suspects(probabilities, given, people)
    assert [(suspect.rows, suspect.suggested) for suspect in found.ranked] == [((10,), (1,))]


def test_a_swap_is_one_suspect_and_comes_before_a_single_photo():
    codes = np.array([0, 0, 1, 2] * 3)
    given = codes.copy()
    given[[2, 3]] = given[[3, 2]]  # p0
    given[8] = 1  # p2
    people = [f"p{row // 4}" for row in range(12)]
    found = find_suspects(probabilities_of(codes, classes=3), given, people)
    assert not found.by_person
    assert [(suspect.rows, suspect.suggested) for suspect in found.ranked] == [((2, 3), (1, 2)), ((8,), (0,))]
    assert found.ranked[0].score < found.ranked[1].score


def test_a_swap_comes_before_a_single_photo_of_equal_score():
    codes = np.array([0, 1, 2, 0, 1, 2])
    given = np.array([1, 1, 2, 0, 2, 1])
    found = find_suspects(probabilities_of(codes, sure=1.0, classes=3), given, ["a"] * 3 + ["b"] * 3)
    assert [suspect.rows for suspect in found.ranked] == [(4, 5), (0,)]
    assert found.ranked[0].score == found.ranked[1].score == 0


def test_two_wrong_photos_of_different_people_are_no_swap():
    codes = np.array([0, 1, 0, 1, 1, 0])
    given = np.array([1, 1, 0, 0, 1, 0])
    found = find_suspects(probabilities_of(codes), given, ["a", "a", "b", "b", "b", "a"])
    assert [suspect.rows for suspect in found.ranked] == [(0,), (3,)]


def test_two_swaps_of_one_person_share_no_photo():
    given = np.array([0, 0, 1, 1])
    found = find_suspects(probabilities_of(1 - given), given, ["a"] * 4)
    assert sorted(row for suspect in found.ranked for row in suspect.rows) == [0, 1, 2, 3]
    assert all(len(suspect.rows) == 2 for suspect in found.ranked)


def test_unlabelled_photos_are_no_suspects_and_no_evidence():
    codes, people = people_with_photos(people=4)
    given = codes.copy()
    given[:7] = -1
    assert not find_suspects(probabilities_of(1 - codes), np.full(28, -1), people).ranked
    found = find_suspects(probabilities_of(1 - codes), given, people)
    assert len(found.ranked) == 3


def test_the_labels_show_whether_they_describe_the_person():
    people = ["a", "a", "b", "b"]
    assert is_label_of_person(np.array([0, 0, 1, 1]), people)
    assert not is_label_of_person(np.array([0, 1, 0, 1]), people)
    assert not is_label_of_person(np.array([0, 1, 0, 1]), ["a", "b", "c", "d"])


def test_without_cleanlab_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanlab.rank", None)
    with pytest.raises(UsageError, match=r"faceline\[clean\]"):
        find_suspects(probabilities_of([0, 1]), np.array([0, 0]), ["a", "b"])
