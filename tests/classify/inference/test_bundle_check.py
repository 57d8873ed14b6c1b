"""Parts of a bundle.json that don't fit together are named."""

import copy

import pytest

from classify.inference.bundle_check import description_problems

FILE = {"file": "smile.safetensors", "sha256": "ab" * 32}
SOUND = {
    "tasks": {"smile": {"classes": ["no", "yes"], "edges": [], "range": None}},
    "models": {
        "smile": {**FILE, "tasks": ["smile"], "heads": [{}], "model": {}, "mean": [0.5] * 3, "std": [0.5] * 3},
    },
    "crop": {},
    "metrics": {},
    "most_frequent": 1,
    "flip": True,
    "decision_rules": {"smile": {"temperature": 1.3, "factors": [1.0, 1.2], "unsure_below": 0.0}},
    "held_out_temperatures": {"smile": 1.2},
    "trained_photos": dict(FILE),
}


def test_a_sound_description_has_no_problem():
    assert description_problems(SOUND) == []
    least = {key: SOUND[key] for key in ("tasks", "crop", "metrics", "most_frequent", "flip")}
    format_1 = {**least, "models": {"smile": {**FILE, "model": {}, "mean": [0.5] * 3, "std": [0.5] * 3}}}
    assert description_problems(format_1) == []


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tasks", {}, "tasks: it names none"),
        ("tasks", {"smile": {"classes": ["yes"], "edges": []}}, "fewer than two classes"),
        ("models", [], "models: it names no network"),
        ("models.smile", {"file": "a"}, "models.smile: it names no file and sha256"),
        ("models.smile.sha256", "ab", "models.smile: it names no file and sha256"),
        ("models.smile.tasks", ["smlie"], "models.smile: it predicts smlie, which is no task"),
        ("models.smile.tasks", "smile", "models.smile: it predicts nothing"),
        ("models.smile.heads", [{}, {}], "2 heads for 1 tasks"),
        ("models.smile.model", None, "it has no model"),
        ("models.smile.mean", [0.5], "mean must be three numbers"),
        ("models.smile.std", [0.5, 0.5, float("nan")], "std must be three numbers"),
        ("models.smile.std", [0.5, 0.5, 0], "std must be above 0"),
        ("decision_rules", {"grin": {}}, "decision_rules.grin: the bundle has no such task"),
        ("decision_rules.smile.factors", [1, 1, 1], "3 factors for 2 classes"),
        ("decision_rules.smile.temperature", 0, "temperature must be above 0, and is 0"),
        ("decision_rules.smile.warmth", 1, "unknown warmth"),
        ("held_out_temperatures", {"smile": -1}, "held_out_temperatures.smile"),
        ("most_frequent", 2, "one of the 2 joint classes"),
        ("trained_photos", {"file": "a"}, "trained_photos: it names no file"),
    ],
)
def test_what_does_not_fit_is_named(key, value, message):
    description = copy.deepcopy(SOUND)
    *way, last = key.split(".")
    part = description
    for name in way:
        part = part[name]
    part[last] = value
    assert any(message in problem for problem in description_problems(description)), description_problems(description)


@pytest.mark.parametrize("key", ["tasks", "models", "crop", "metrics", "most_frequent", "flip"])
def test_a_key_that_is_missing_is_named(key):
    assert description_problems({name: value for name, value in SOUND.items() if name != key}) == [
        f"lacks or misstates {key}"
    ]


def test_a_task_that_no_network_predicts_is_named():
    description = copy.deepcopy(SOUND)
    description["tasks"]["age"] = {"classes": ["<30", ">=30"], "edges": [30], "range": [0, 120]}
    assert "lacks or misstates models: no network predicts age" in description_problems(description)
