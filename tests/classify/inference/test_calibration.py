import numpy as np
import pytest

from classify.evaluation.metrics import macro_f1
from classify.inference.calibration import calibration_error, fit_decision_rule, fit_factors, fit_temperature
from classify.inference.decision import DecisionRule, mean_probabilities
from classify.inference.ensemble_weights import cross_fit


def drawn_photos(people=400, sharpness=1.0, seed=0):
    """Probabilities that are `sharpness` times as sure as they are right, three classes of which the last is rare."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(people, 3)) + np.array([0.5, 0.5, -1.5])
    true_probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.array([rng.choice(3, p=row) for row in true_probabilities])
    probabilities = np.exp(sharpness * logits)
    return (probabilities / probabilities.sum(1, keepdims=True)).astype(np.float32), truth


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_overconfidence(sharpness):
    probabilities, truth = drawn_photos(20_000, sharpness)
    temperature = fit_temperature(probabilities, truth)
    assert temperature == pytest.approx(sharpness, rel=0.05)
    calibrated = DecisionRule(temperature).calibrated(probabilities)
    assert calibrated.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (calibrated.argmax(1) == probabilities.argmax(1)).all()
    if sharpness != 1.0:
        before, after = (calibration_error(p, truth, p.argmax(1)) for p in (probabilities, calibrated))
        assert after < before / 3


def test_the_calibration_error_is_the_gap_between_certainty_and_right_answers():
    probabilities = np.array([[0.9, 0.1]] * 10, np.float32)
    answers = np.zeros(10, np.intp)
    assert calibration_error(probabilities, np.array([0] * 9 + [1]), answers) == pytest.approx(0, abs=1e-6)
    assert calibration_error(probabilities, np.array([0] * 4 + [1] * 6), answers) == pytest.approx(0.5, abs=1e-6)


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


def test_each_photo_gets_the_rule_that_was_fitted_to_other_people():
    probabilities, truth = drawn_photos(60)
    people = [f"p{i // 3}" for i in range(60)]
    fitted_to = []

    def fit(some_probabilities, some_truth):
        fitted_to.append({tuple(row) for row in some_probabilities.tolist()})
        return DecisionRule(2.0)

    calibrated, answers = cross_fit(probabilities[None], np.where(np.arange(60) == 7, -1, truth), people, fit)
    assert np.allclose(calibrated, DecisionRule(2.0).calibrated(probabilities))
    assert (answers == probabilities.argmax(1)).all()
    assert len(fitted_to) == 5
    for person in range(20):
        of_person = {tuple(row) for row in probabilities[3 * person : 3 * person + 3].tolist()}
        assert sum(bool(of_person & rows) for rows in fitted_to) == 4, "all of a person is left out once"
    assert not any(tuple(probabilities[7].tolist()) in rows for rows in fitted_to), (
        "a photo without a label fits nothing"
    )


def test_the_settings_decide_what_is_fitted():
    probabilities, truth = drawn_photos(300, 2.0)
    assert fit_decision_rule(probabilities, truth, calibrate=False, factors=False, unsure_below=0.6) == DecisionRule(
        unsure_below=0.6
    )
    both = fit_decision_rule(probabilities, truth, calibrate=True, factors=True, unsure_below=0.0)
    assert both.temperature > 1.5
    assert len(both.factors) == 3


def test_probabilities_are_averaged_by_weight_and_unsure_answers_are_marked():
    first, second = np.array([[1.0, 0.0]], np.float32), np.array([[0.0, 1.0]], np.float32)
    assert mean_probabilities([first, second], [3, 1]).tolist() == [[0.75, 0.25]]
    unsure = np.array([[0.55, 0.45], [0.9, 0.1]], np.float32)
    assert DecisionRule(unsure_below=0.6).unsure(unsure, unsure.argmax(1)).tolist() == [True, False]
