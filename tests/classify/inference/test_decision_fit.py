"""Decision rules of all tasks, on drawn photos: factors per task and joint, and what carries over to more networks."""

import numpy as np
import pytest

from classify.evaluation.metrics import macro_f1
from classify.inference.class_factors import fit_factors, fit_joint_factors
from classify.inference.decision import DecisionRule
from classify.inference.decision_fit import Temperatures, fit_decision_rules, rule_for_voting
from classify.inference.ensemble_weights import cross_fit
from tests.classify.inference.test_calibration import drawn_photos


def test_factors_favour_a_rare_class_as_far_as_it_helps_the_macro_f1():
    probabilities, truth = drawn_photos(5000)
    factors = fit_factors(probabilities, truth)
    assert max(factors) == factors[2] == 1.0, "the rare class gains"
    assert (
        macro_f1(truth, DecisionRule(factors=factors).answers(probabilities))
        > macro_f1(truth, probabilities.argmax(1)) + 0.02
    )
    sure = np.eye(3, dtype=np.float32)[truth]
    assert set(fit_factors(sure, truth)) == {1.0}, "where nothing can be gained, nothing moves"


def joint_macro_f1(probabilities, truths, factors):
    sizes = [part.shape[1] for part in probabilities]
    answers = [DecisionRule(factors=f).answers(part) for part, f in zip(probabilities, factors, strict=True)]
    return macro_f1(np.ravel_multi_index(tuple(truths), sizes), np.ravel_multi_index(tuple(answers), sizes))


def two_tasks(photos=3000):
    """Two tasks whose rare classes come together, so that the joint class has other needs than each task."""
    first, first_truth = drawn_photos(photos, seed=1)
    second, second_truth = drawn_photos(photos, seed=2)
    order, second_order = np.argsort(first[:, 2]), np.argsort(second[:, 2])
    return [first[order], second[second_order]], [first_truth[order], second_truth[second_order]]


def test_joint_factors_are_better_for_the_joint_class_than_those_of_each_task():
    probabilities, truths = two_tasks()
    per_task = [fit_factors(part, truth) for part, truth in zip(probabilities, truths, strict=True)]
    joint = fit_joint_factors(probabilities, truths, per_task)
    assert joint_macro_f1(probabilities, truths, joint) > joint_macro_f1(probabilities, truths, per_task) + 0.005
    assert all(max(factors) == 1.0 for factors in joint)
    for part, truth, factors, own in zip(probabilities, truths, joint, per_task, strict=True):
        assert joint_macro_f1([part], [truth], [factors]) <= joint_macro_f1([part], [truth], [own])


def rules_of(probabilities, truths, **requested):
    request = {"calibrate": False, "decide": "probable", "unsure_below": 0.0, **requested}
    names = ("first", "second")[: len(truths)]
    return fit_decision_rules(
        dict(zip(names, probabilities, strict=True)), dict(zip(names, truths, strict=True)), **request
    )


def test_the_settings_decide_what_is_fitted():
    probabilities, truths = two_tasks()
    assert rules_of(probabilities, truths, unsure_below=0.6)["first"] == DecisionRule(unsure_below=0.6)
    calibrated = rules_of([np.sqrt(part) for part in probabilities], truths, calibrate=True)
    assert all(rule.temperature < 0.7 and not rule.factors for rule in calibrated.values())
    per_task, joint = (rules_of(probabilities, truths, decide=decide) for decide in ("f1_per_task", "f1"))
    assert per_task["first"].factors == fit_factors(probabilities[0], truths[0])
    assert joint != per_task
    [alone] = rules_of(probabilities[:1], truths[:1], decide="f1").values()
    assert alone == per_task["first"], "a single task is its own joint class"


def test_photos_without_all_labels_count_for_their_tasks_only():
    probabilities, truths = two_tasks()
    complete = np.arange(3000) % 2 == 0
    some = [truths[0], np.where(complete, truths[1], -1)]
    found = rules_of(probabilities, some, decide="f1")
    start = [fit_factors(probabilities[0], truths[0]), fit_factors(probabilities[1][complete], truths[1][complete])]
    expected = fit_joint_factors(
        [part[complete] for part in probabilities], [truth[complete] for truth in truths], start
    )
    assert [rule.factors for rule in found.values()] == expected
    none = np.full(3000, -1)
    unlabelled = rules_of(probabilities, [truths[0], none], decide="f1", calibrate=True)
    assert unlabelled["second"] == DecisionRule()
    assert unlabelled["first"].factors == fit_factors(unlabelled["first"].calibrated(probabilities[0]), truths[0])


def test_each_photo_gets_the_rule_that_was_fitted_to_other_people():
    probabilities, truth = drawn_photos(60)
    people = [f"p{i // 3}" for i in range(60)]
    fitted_to = []

    def fit(some_probabilities, some_truth):
        labelled = some_probabilities["face"][some_truth["face"] >= 0]
        fitted_to.append({tuple(row) for row in labelled.tolist()})
        return {"face": DecisionRule(2.0)}

    some = {"face": np.where(np.arange(60) == 7, -1, truth)}
    calibrated, answers = cross_fit({"face": probabilities[None]}, some, people, fit)
    assert np.allclose(calibrated["face"], DecisionRule(2.0).calibrated(probabilities))
    assert (answers["face"] == probabilities.argmax(1)).all()
    assert len(fitted_to) == 5
    for person in range(20):
        of_person = {tuple(row) for row in probabilities[3 * person : 3 * person + 3].tolist()}
        assert sum(bool(of_person & rows) for rows in fitted_to) == 4, "all of a person is left out once"


@pytest.mark.parametrize("calibrate", [True, False])
def test_factors_mean_the_same_for_few_networks_and_for_all(calibrate):
    calibrated, _ = drawn_photos(2000)
    temperatures = Temperatures(3.0, 2.0, 1.25)

    def at(temperature):
        powers = calibrated.astype(np.float64) ** temperature
        return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)

    held_out = DecisionRule(2.0 if calibrate else 1.0, (0.4, 0.7, 1.0))
    voting = rule_for_voting(held_out, temperatures, calibrate=calibrate)
    answers = held_out.answers(held_out.calibrated(at(2.0)))
    same = voting.answers(voting.calibrated(at(1.25))) == answers
    assert same.mean() > 0.999
    plain = DecisionRule(voting.temperature).answers(voting.calibrated(at(1.25)))
    assert (plain == answers).mean() < 0.95, "the factors matter"
