"""What `faceline doctor` finds is what is there, and its advice fits the machine."""

import importlib.metadata
import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from cache.errors import BundleError
from pipeline.commands import doctor_extras
from pipeline.commands.doctor_extras import Extra, extras
from pipeline.commands.doctor_machine import Machine
from tests.pipeline.conftest import faceline, tiny_options

HOUSE = Path(__file__).parents[3]
FAST = Machine(
    device="cpu", was_chosen=False, devices=("cpu",), detection="openvino", networks="openvino", has_driver=False,
    cores=8, usable_cores=8, workers=8, thread_limit=0, instructions="AVX2", has_bf16=False,
)  # fmt: skip
WITH_FAST, WITHOUT_FAST = Extra("fast", {"openvino": "2026.1"}), Extra("fast", {"openvino": None})


def doctor(*words):
    return json.loads(faceline("doctor", *words, "--json").stdout.splitlines()[-1])


def test_the_doctor_shows_versions_all_extras_the_device_and_the_cache(tmp_path):
    (tmp_path / "cache" / "crops").mkdir(parents=True)
    (tmp_path / "cache" / "crops" / "file").write_bytes(bytes(1234))
    result = doctor("--no-speed", "--cache", tmp_path / "cache", "--device", "cpu")
    assert result["versions"]["torch"] == importlib.metadata.version("torch")
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
    assert result["extras"].keys() | {"dev"} == project["optional-dependencies"].keys()
    for name, extra in result["extras"].items():
        assert extra["installed"] or extra["install"] == f"pip install 'faceline[{name}]'"
        assert set(extra["packages"].values()) - {None} or not extra["installed"]
    assert result["extras"]["ray"]["packages"].keys() == {"ray"}
    assert (result["device"], result["because"]["device"]) == ("cpu", "as --device says")
    assert result["runtimes"].keys() == {"detection", "networks"}
    assert (result["cache"], result["cache_bytes"]) == (str(tmp_path / "cache"), 1234)
    assert result["free_bytes"] > 0
    assert not {"photos_detected", "photos_predicted", "samples_trained"} & result.keys()


def test_the_doctor_measures_detection_a_training_step_and_a_bundle(finished):
    words = ["--bundle", finished.run / "bundle", "--device", "cpu", "--cache", finished.cache, *tiny_options()]
    before = sorted((finished.cache / "crops").rglob("*"))
    result = doctor(*words)
    assert min(result[what] for what in ("photos_detected", "photos_predicted", "samples_trained")) > 0
    assert sorted((finished.cache / "crops").rglob("*")) == before, "the drawn photos are not kept"


def test_another_detector_is_named_in_the_place_of_a_runtime():
    result = doctor("--no-speed", "--device", "cpu", "--set", "detect.detector=yunet", "--set", "detect.second=none")
    assert (result["runtimes"]["detection"], result["because"]["detection"]) == ("yunet", "as detect.detector says")


def test_a_bundle_to_measure_must_be_one(tmp_path):
    with pytest.raises(BundleError, match="no bundle"):
        faceline("doctor", "--bundle", tmp_path)


def test_what_is_missing_is_shown_with_the_command_that_installs_it(monkeypatch):
    version = importlib.metadata.version

    def without_ray(name):
        if name == "ray":
            raise importlib.metadata.PackageNotFoundError
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without_ray)
    assert "pip install 'faceline[ray]'" in faceline("doctor", "--no-speed").stdout


def test_outside_a_checkout_the_metadata_says_which_extras_there_are(monkeypatch):
    lines = [
        "numpy>=2",
        'openvino>=2026.1; extra == "fast"',
        "onnx>=1.17 ; extra == 'onnx'",
        'onnxruntime; extra == "onnx"',
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: lines)
    monkeypatch.setattr(doctor_extras, "DISTRIBUTION", "another project than the one in pyproject.toml")
    assert {extra.name: set(extra.packages) for extra in extras()} == {
        "fast": {"openvino"}, "onnx": {"onnx", "onnxruntime"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "extra", "expected"),
    [
        ({}, WITH_FAST, None),
        ({"detection": "torch", "networks": "torch"}, WITHOUT_FAST, "pip install 'faceline[fast]'"),
        ({"device": "cuda", "devices": ("cpu", "cuda:0 A"), "networks": "torch"}, WITHOUT_FAST, None),
        ({"devices": ("cpu", "cuda:0 A"), "was_chosen": True}, WITH_FAST, "leave out --device cpu"),
        ({"has_driver": True}, WITH_FAST, "an NVIDIA GPU that torch can't use"),
        ({"usable_cores": 2, "workers": 2}, WITH_FAST, "may use 2 of 8 cores"),
        ({"workers": 3}, WITH_FAST, "--workers 3 leaves cores idle"),
        ({"has_bf16": True}, WITH_FAST, "predict.precision=bf16"),
        ({"thread_limit": 1}, WITH_FAST, "OMP_NUM_THREADS=1"),
    ],
)
def test_the_advice_fits_the_machine(changes, extra, expected):
    advice = replace(FAST, **changes).advice([extra])
    assert len(advice) == (expected is not None)
    assert expected is None or expected in advice[0]


def test_the_reasons_fit_the_machine():
    assert (FAST.why_device(), FAST.why_runtime("torch")) == ("torch sees no GPU", "OpenVINO is not installed")
    gpu = replace(FAST, device="cuda", devices=("cpu", "cuda:0 A"))
    assert (gpu.why_device(), gpu.why_runtime("torch")) == ("torch sees a GPU", "it is the runtime for a GPU")
