import numpy as np
import pytest

from classify.inference.calibration import calibration_error, fit_temperature, temperature_of_mean
from classify.inference.decision import DecisionRule, mean_probabilities
from classify.inference.decision_fit import NetworkCounts, fit_temperatures


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


def test_probabilities_are_averaged_by_weight_and_unsure_answers_are_marked():
    first, second = np.array([[1.0, 0.0]], np.float32), np.array([[0.0, 1.0]], np.float32)
    assert mean_probabilities([first, second], [3, 1]).tolist() == [[0.75, 0.25]]
    unsure = np.array([[0.55, 0.45], [0.9, 0.1]], np.float32)
    assert DecisionRule(unsure_below=0.6).unsure(unsure, unsure.argmax(1)).tolist() == [True, False]


def drawn_networks(correlation, *, classes=3, signal=3.0, noise=2.0, sharpness=1.0, photos=4000, seed=3):
    """Probabilities (8, N, C) of networks whose logits have errors with this correlation, and the true classes (N,)."""
    rng = np.random.default_rng(seed)
    logits = signal * rng.normal(size=(photos, classes))
    truth = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    shared, single = rng.normal(size=logits.shape), rng.normal(size=(8, *logits.shape))
    errors = noise * (np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * single)
    powers = np.exp(sharpness * (logits + errors))
    return (powers / powers.sum(axis=2, keepdims=True)).astype(np.float32), truth


def error_at(temperature, parts, truth):
    """The calibration error of the mean of these networks with this temperature."""
    calibrated = DecisionRule(temperature).calibrated(mean_probabilities(list(parts)))
    return calibration_error(calibrated, truth, calibrated.argmax(axis=1))


SHAPES = [
    {},
    {"classes": 2},
    {"signal": 1.5},
    {"noise": 1.0, "sharpness": 2.0},
    {"sharpness": 0.5},
    {"signal": 2.0, "noise": 1.0},
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("voting", [4, 8])
def test_two_held_out_networks_calibrate_the_mean_of_all(voting, shape):
    parts, truth = drawn_networks(0.3, **shape)
    temperatures = fit_temperatures(parts[:2], truth, NetworkCounts(2, voting))
    fitted = fit_temperature(mean_probabilities(list(parts[:voting])), truth)
    assert temperatures.voting == pytest.approx(fitted, rel=0.1), "as if all had been held out"
    assert error_at(temperatures.voting, parts[:voting], truth) < 0.05
    assert error_at(temperatures.single, parts[:voting], truth) > 0.04, "it matters"


@pytest.mark.parametrize("voting", [4, 6, 8])
def test_a_single_held_out_network_calibrates_the_mean_better_than_as_its_own(voting):
    parts, truth = drawn_networks(0.3)
    temperatures = fit_temperatures(parts[:1], truth, NetworkCounts(1, voting))
    assert temperatures.held_out == temperatures.single
    uncorrected = error_at(temperatures.single, parts[:voting], truth)
    assert uncorrected > 0.12
    assert error_at(temperatures.voting, parts[:voting], truth) < 0.7 * uncorrected


@pytest.mark.parametrize(("correlation", "gain"), [(0.1, 0.03), (0.3, 0.04), (0.5, 0.04), (0.7, 0.03), (0.85, 0.0)])
def test_what_is_assumed_helps_or_costs_nothing_whatever_the_correlation_is(correlation, gain):
    parts, truth = drawn_networks(correlation)
    temperatures = fit_temperatures(parts[:1], truth, NetworkCounts(1, 6))
    assert error_at(temperatures.voting, parts[:6], truth) < error_at(temperatures.single, parts[:6], truth) - gain


def test_the_temperature_of_a_mean_stays_between_what_was_measured_and_what_can_be():
    assert temperature_of_mean(1.5, 1.5, 2, 8) == 1.5, "networks that agree gain nothing"
    assert temperature_of_mean(1.4, 1.5, 2, 8) == 1.5, "chance made the mean less sure"
    assert temperature_of_mean(4.0, 1.0, 2, 8) == 0.25, "a is 0"
    assert temperature_of_mean(0.13, 0.13, 1, 100) == 0.1
    assert temperature_of_mean(1.8, 1.2, 3, 3) == 1.2


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((1, 1), "the network that predicts"),
        ((3, 3), "means of all 3 networks"),
        ((1, 4), "single networks, corrected for 4"),
        ((2, 6), "single networks and means of 2, extrapolated to 6"),
    ],
)
def test_what_a_rule_was_fitted_to_is_said(counts, said):
    assert NetworkCounts(*counts).fitted_to == said
