"""Scores and decision rules of held-out people, where one or several networks predicted each of them."""

import json
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from classify.data.sample import Sample
from classify.evaluation.metrics import macro_f1
from classify.inference.decision import DecisionRule, mean_probabilities
from classify.tasks import Task
from pipeline.console import Console
from pipeline.evaluation.held_out_scores import HeldOut
from pipeline.settings import PredictConfig
from tests.classify.inference.test_calibration import drawn_networks

FACE, OTHER = Task("face", ("a", "b", "c")), Task("other", ("x", "y"))
FOLDS = 8


def people_of(photos):
    """Two photos of each person, and their folds."""
    people = np.arange(photos) // 2
    return people, people % FOLDS


def held_out_by(leave_out, *, repeats=1, photos=3200, tasks=(FACE,)):
    """What 8 networks predict for the folds that they left out, and (8, N, C) what they predict for all photos."""
    parts, truth = drawn_networks(0.3, photos=photos)
    people, folds = people_of(photos)
    codes = [(int(code), *(-1 for _ in tasks[1:])) for code in truth]
    rows = zip(codes, people.tolist(), folds.tolist(), strict=True)
    numbers = (np.nan,) * len(tasks)
    samples = [
        Sample(f"{i}.jpg", f"s{i}", str(person), code, numbers, fold) for i, (code, person, fold) in enumerate(rows)
    ]
    held_out = HeldOut(tasks, samples)
    for network in range(FOLDS):
        left_out = np.isin((folds - network) % FOLDS, np.arange(leave_out))
        rows_left_out = np.flatnonzero(left_out)
        for _ in range(repeats):
            trained = SimpleNamespace(heads=SimpleNamespace(tasks=tasks))
            predicted = [
                parts[network][left_out],
                *(np.full((len(rows_left_out), 2), 0.5, np.float32) for _ in tasks[1:]),
            ]
            held_out.add(trained, rows_left_out, predicted)
    return held_out, parts, truth


def finish(held_out, folder, **predict):
    found = held_out.finish(folder, PredictConfig(**predict), Console())
    return found.scores, found.decision_rules, json.loads((folder / "calibration.json").read_text())


def test_the_mean_of_those_that_left_a_person_out_is_scored_and_the_mean_of_all_is_calibrated(tmp_path, capsys):
    held_out, parts, truth = held_out_by(2)
    _, rules, calibration = finish(held_out, tmp_path)
    fitted = calibration["face"]
    assert (fitted["networks_held_out"], fitted["networks_voting"]) == (2, 8)
    assert fitted["fitted_to"] == "single networks and means of 2, extrapolated to 8"
    assert (
        fitted["temperature_single"]
        > fitted["temperature_held_out"]
        > fitted["temperature"]
        == rules["face"].temperature
    )
    assert fitted["error"] < fitted["error_before"] / 2
    assert fitted["log_loss"] < fitted["log_loss_before"]
    assert "is assumed" not in capsys.readouterr().err

    _, folds = people_of(len(truth))
    rows = np.arange(len(truth))
    pairs = mean_probabilities([parts[folds, rows], parts[(folds - 1) % FOLDS, rows]])
    table = pl.read_csv(tmp_path / "validation.csv")
    calibrated = table.select("p_face_a", "p_face_b", "p_face_c").to_numpy()
    assert (calibrated.argmax(axis=1) == pairs.argmax(axis=1)).all()
    likely = DecisionRule(fitted["temperature_held_out"]).calibrated(pairs)
    assert np.abs(calibrated - likely).max() < 0.05, "only the cross-fitted temperature differs"


def test_with_a_single_network_a_person_the_correction_is_assumed_and_said(tmp_path, capsys):
    held_out, *_ = held_out_by(1)
    _, rules, calibration = finish(held_out, tmp_path)
    fitted = calibration["face"]
    assert fitted["fitted_to"] == "single networks, corrected for 8"
    assert fitted["temperature_held_out"] == fitted["temperature_single"]
    assert rules["face"].temperature == pytest.approx(fitted["temperature_single"] * (0.7 + 0.3 / 8), abs=1e-3)
    said = capsys.readouterr().err
    assert "predicted by one network, and new photos by 8" in said
    assert "--set split.leave_out=2" in said


def test_a_network_that_predicts_alone_needs_no_correction(tmp_path, capsys):
    people, folds = people_of(800)
    parts, truth = drawn_networks(0.3, photos=800)
    samples = [Sample(f"{i}.jpg", "", str(people[i]), (int(truth[i]),), (np.nan,), int(folds[i])) for i in range(800)]
    held_out, rows = HeldOut([FACE], samples), np.flatnonzero(folds == 0)
    held_out.add(SimpleNamespace(heads=SimpleNamespace(tasks=[FACE])), rows, [parts[0][rows]])
    _, rules, calibration = finish(held_out, tmp_path)
    assert calibration["face"]["fitted_to"] == "the network that predicts"
    assert rules["face"].temperature == calibration["face"]["temperature_single"]
    assert "is assumed" not in capsys.readouterr().err
    assert len(pl.read_csv(tmp_path / "validation.csv")) == 100


def test_repeats_count_as_networks_that_have_not_seen_the_person(tmp_path):
    held_out, *_ = held_out_by(1, repeats=2)
    *_, calibration = finish(held_out, tmp_path)
    assert (calibration["face"]["networks_held_out"], calibration["face"]["networks_voting"]) == (2, 16)


def test_factors_are_scored_on_other_people_and_what_they_change_is_said(tmp_path, capsys):
    held_out, _, truth = held_out_by(2)
    scores, rules, _ = finish(held_out, tmp_path, decide="f1")
    assert len(rules["face"].factors) == 3
    table = pl.read_csv(tmp_path / "validation.csv")
    plain = table.select("p_face_a", "p_face_b", "p_face_c").to_numpy().argmax(axis=1)
    line = f"face {macro_f1(truth, plain):.3f} to {scores['face'].macro_f1:.3f}"
    assert line in capsys.readouterr().err


def test_a_task_without_labels_is_predicted_and_not_calibrated(tmp_path):
    held_out, *_ = held_out_by(2, tasks=(FACE, OTHER))
    scores, rules, calibration = finish(held_out, tmp_path, decide="f1", unsure=0.6)
    assert set(calibration) == set(scores) == {"face"}
    assert rules["other"] == DecisionRule(unsure_below=0.6)
    assert pl.read_csv(tmp_path / "validation.csv")["other"].unique().to_list() == ["x"]
