import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from classify.evaluation.metrics import bootstrap_counts, score
from classify.evaluation.paired_bootstrap import paired_scores

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 4, 200)
PEOPLE = [f"p{i // 5}" for i in range(200)]


def predictions(accuracy, rng):
    return np.where(rng.random(200) < accuracy, TRUTH, rng.integers(0, 4, 200))


FIRST = np.stack([predictions(0.6, RNG), predictions(0.6, RNG)])
SECOND = np.stack([predictions(0.7, RNG), predictions(0.7, RNG)])


def slow_macro_f1(by_seed, rows):
    return np.mean([f1_score(TRUTH[rows], predicted[rows], average="macro") for predicted in by_seed])


def test_differences_are_those_of_scikit_learns_scores_on_the_same_drawn_people():
    _, second = paired_scores(TRUTH, np.stack([FIRST, SECOND]), PEOPLE, 4, draws=200, seed=3)
    names, person = np.unique(PEOPLE, return_inverse=True)
    gains, single = [], []
    for counts in bootstrap_counts(len(names), 200, 3).astype(int):
        rows = np.repeat(np.arange(200), counts[person])
        single.append(slow_macro_f1(SECOND, rows))
        gains.append(single[-1] - slow_macro_f1(FIRST, rows))
    all_rows = np.arange(200)
    assert second.macro_f1 == pytest.approx(slow_macro_f1(SECOND, all_rows))
    assert [second.low, second.high] == pytest.approx(np.quantile(single, [0.025, 0.975]))
    assert second.accuracy == pytest.approx(np.mean([accuracy_score(TRUTH, predicted) for predicted in SECOND]))
    assert second.by_seed == pytest.approx([slow_macro_f1([predicted], all_rows) for predicted in SECOND])
    difference = second.difference
    assert difference.macro_f1 == pytest.approx(slow_macro_f1(SECOND, all_rows) - slow_macro_f1(FIRST, all_rows))
    assert [difference.low, difference.high] == pytest.approx(np.quantile(gains, [0.025, 0.975]))
    assert difference.better == np.mean(np.array(gains) > 0)


def test_equal_predictions_differ_by_exactly_0():
    first, second = paired_scores(TRUTH, np.stack([FIRST, FIRST]), PEOPLE, 4)
    assert first.difference is None
    assert list(second.difference.as_json().values()) == [0, 0, 0, 0]


def test_a_better_method_scores_higher_and_a_worse_one_lower():
    perfect = np.stack([TRUTH, TRUTH])
    _, better = paired_scores(TRUTH, np.stack([FIRST, perfect]), PEOPLE, 4)
    _, worse = paired_scores(TRUTH, np.stack([perfect, FIRST]), PEOPLE, 4)
    assert better.difference.low > 0
    assert better.difference.better == 1
    assert worse.difference.high < 0
    assert worse.difference.better == 0


def test_the_paired_interval_is_narrower_when_methods_fail_on_the_same_people():
    nearly = FIRST.copy()
    nearly[:, :4] = TRUTH[:4]
    first, second = paired_scores(TRUTH, np.stack([FIRST, nearly]), PEOPLE, 4)
    assert second.difference.high - second.difference.low < (first.high - first.low) / 3


def test_a_single_seed_has_the_score_that_evaluate_gives():
    [single] = paired_scores(TRUTH, FIRST[None, :1], PEOPLE, 4)
    plain = score(TRUTH, FIRST[0], PEOPLE, 4)
    assert [single.macro_f1, single.low, single.high, single.accuracy] == pytest.approx(list(plain.as_json().values()))
