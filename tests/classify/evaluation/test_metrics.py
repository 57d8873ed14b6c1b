import numpy as np
import pytest
from sklearn.metrics import f1_score

from classify.evaluation.metrics import class_intervals, class_table, macro_f1, score

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 4, 200)
PREDICTED = np.where(RNG.random(200) < 0.7, TRUTH, RNG.integers(0, 4, 200))
PEOPLE = [f"p{i // 5}" for i in range(200)]


def test_macro_f1_is_scikit_learns():
    assert macro_f1(TRUTH, PREDICTED) == pytest.approx(f1_score(TRUTH, PREDICTED, average="macro"))


def test_a_photo_without_an_answer_is_wrong_and_not_a_class():
    predicted = PREDICTED.copy()
    predicted[:50] = -1
    scored = score(TRUTH, predicted, PEOPLE, 4, draws=50)
    assert scored.confusion[:, 4].sum() == 50
    assert scored.macro_f1 < score(TRUTH, PREDICTED, PEOPLE, 4, draws=50).macro_f1
    nearly_perfect = TRUTH.copy()
    nearly_perfect[0] = -1
    assert macro_f1(TRUTH, nearly_perfect) > 0.99


def test_the_interval_is_the_bootstrap_over_people_done_the_slow_way():
    fast = score(TRUTH, PREDICTED, PEOPLE, 4, draws=400)
    people = np.array(PEOPLE)
    rng, slow = np.random.default_rng(1), []
    for _ in range(400):
        drawn = rng.choice(np.unique(people), 40)
        rows = np.concatenate([np.flatnonzero(people == p) for p in drawn])
        slow.append(f1_score(TRUTH[rows], PREDICTED[rows], average="macro"))
    low, high = np.quantile(slow, [0.025, 0.975])
    assert fast.low == pytest.approx(low, abs=0.02)
    assert fast.high == pytest.approx(high, abs=0.02)
    assert fast.low < fast.macro_f1 < fast.high


def test_photos_of_one_person_make_the_interval_wider_than_photos_of_many():
    blocks = np.repeat(RNG.random(40) < 0.7, 5)  # all photos of a person are right, or all are wrong
    predicted = np.where(blocks, TRUTH, (TRUTH + 1) % 4)
    grouped, single = score(TRUTH, predicted, PEOPLE, 4), score(TRUTH, predicted, [str(i) for i in range(200)], 4)
    assert grouped.high - grouped.low > 1.5 * (single.high - single.low)


def test_the_class_table_counts_each_class_even_an_absent_one():
    rows = class_table(np.array([0, 0, 1]), np.array([0, 1, 1]), ["a", "b", "c"])
    assert [(row.name, row.photos) for row in rows] == [("a", 2), ("b", 1), ("c", 0)]
    assert rows[0].precision == 1.0
    assert rows[0].recall == 0.5


def test_the_interval_of_a_class_leaves_out_draws_in_which_it_does_not_occur():
    true, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 0, 1])
    people = ["ann", "bob", "cid", "dot"]  # 1 occurs in the draws that have dot, and is right in all of them
    assert class_intervals(true, predicted, people, 3) == [(1.0, 1.0), (1.0, 1.0), None]
    [low, high], _ = class_intervals(true, np.array([0, 0, 1, 1]), people, 2)
    assert low < 0.8 < high
