import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from classify.evaluation.metrics import draw_people, score
from classify.evaluation.paired_bootstrap import standings

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 4, 200)
PEOPLE = [f"p{i // 5}" for i in range(200)]


def answers(rights, rng):
    return np.where(rng.random(200) < rights, TRUTH, rng.integers(0, 4, 200))


FIRST = np.stack([answers(0.6, RNG), answers(0.6, RNG)])
SECOND = np.stack([answers(0.7, RNG), answers(0.7, RNG)])


def slow_macro_f1(way, rows):
    return np.mean([f1_score(TRUTH[rows], one[rows], average="macro") for one in way])


def test_differences_are_those_of_scikit_learns_scores_on_the_same_drawn_people():
    _, second = standings(TRUTH, np.stack([FIRST, SECOND]), PEOPLE, 4, draws=200, seed=3)
    names, person = np.unique(PEOPLE, return_inverse=True)
    apart, single = [], []
    for times in draw_people(len(names), 200, 3).astype(int):
        rows = np.repeat(np.arange(200), times[person])
        single.append(slow_macro_f1(SECOND, rows))
        apart.append(single[-1] - slow_macro_f1(FIRST, rows))
    every = np.arange(200)
    assert second.macro_f1 == pytest.approx(slow_macro_f1(SECOND, every))
    assert [second.low, second.high] == pytest.approx(np.quantile(single, [0.025, 0.975]))
    assert second.accuracy == pytest.approx(np.mean([accuracy_score(TRUTH, one) for one in SECOND]))
    assert second.by_seed == pytest.approx([slow_macro_f1([one], every) for one in SECOND])
    difference = second.difference
    assert difference.macro_f1 == pytest.approx(slow_macro_f1(SECOND, every) - slow_macro_f1(FIRST, every))
    assert [difference.low, difference.high] == pytest.approx(np.quantile(apart, [0.025, 0.975]))
    assert difference.better == np.mean(np.array(apart) > 0)


def test_the_same_answers_differ_by_exactly_nothing():
    first, second = standings(TRUTH, np.stack([FIRST, FIRST]), PEOPLE, 4)
    assert first.difference is None
    assert list(second.difference.as_json().values()) == [0, 0, 0, 0]


def test_a_better_way_is_told_as_better_and_a_worse_one_as_worse():
    perfect = np.stack([TRUTH, TRUTH])
    _, better = standings(TRUTH, np.stack([FIRST, perfect]), PEOPLE, 4)
    _, worse = standings(TRUTH, np.stack([perfect, FIRST]), PEOPLE, 4)
    assert better.difference.low > 0
    assert better.difference.better == 1
    assert worse.difference.high < 0
    assert worse.difference.better == 0


def test_the_paired_interval_is_narrower_than_the_ways_own_when_they_fail_on_the_same_people():
    nearly = FIRST.copy()
    nearly[:, :4] = TRUTH[:4]
    first, second = standings(TRUTH, np.stack([FIRST, nearly]), PEOPLE, 4)
    assert second.difference.high - second.difference.low < (first.high - first.low) / 3


def test_one_seed_alone_has_the_score_that_evaluate_gives():
    [single] = standings(TRUTH, FIRST[None, :1], PEOPLE, 4)
    one = score(TRUTH, FIRST[0], PEOPLE, 4)
    assert [single.macro_f1, single.low, single.high, single.accuracy] == pytest.approx(list(one.as_json().values()))
