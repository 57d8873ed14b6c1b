"""`faceline bundle ...` on the bundle of a finished run."""

import json
import shutil
from pathlib import Path

import pytest

from cache.errors import BundleError
from pipeline.prediction.verify_bundle import verify_bundle
from tests.pipeline.conftest import faceline


@pytest.fixture
def bundle(finished, tmp_path):
    return Path(shutil.copytree(finished.run / "bundle", tmp_path / "bundle"))


def last_json(result):
    return json.loads(result.stdout.splitlines()[-1])


def test_inspect_shows_tasks_networks_and_crop(bundle):
    shown = faceline("bundle", "inspect", bundle).stdout
    for word in ("mask", "<30, 30-59, >=60", "test_resnet", "32x24", "mtcnn", "Licence: unknown", "faceline"):
        assert word in shown, word
    record = last_json(faceline("bundle", "inspect", bundle, "--json"))
    assert record["files"] == sorted(path.name for path in bundle.iterdir())
    assert record["data"]["people"] == 12
    assert record["written_by"]["torch"]


def test_a_bundle_is_verified_as_folder_and_as_zip(bundle, tmp_path):
    faceline("bundle", "zip", bundle)
    for path in (bundle, tmp_path / "bundle.zip"):
        record = last_json(faceline("bundle", "verify", path, "--json"))
        assert record == {"files": 4, "ok": True, "problems": [], "notes": []}


def change_weights(bundle):
    weights = bundle / "mask.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")


def change_outputs(bundle):
    described = json.loads((bundle / "bundle.json").read_text())
    models = described["models"]
    models["gender"] |= {key: models["mask"][key] for key in ("file", "sha256")}
    (bundle / "bundle.json").write_text(json.dumps(described))


def change_crop(bundle):
    described = json.loads((bundle / "bundle.json").read_text())
    described["crop"]["fingerprint"] = "0" * 64
    described["crop"]["spec"]["detector"]["weights"]["onet"] = "f" * 64
    (bundle / "bundle.json").write_text(json.dumps(described))


@pytest.mark.parametrize(
    ("harm", "messages"),
    [
        (lambda b: ((b / "age.safetensors").unlink(), change_weights(b)), ["age.safetensors is missing", "mask.safe"]),
        (lambda b: (b / "trained_photos.safetensors").write_bytes(b"x"), ["trained_photos.safetensors is not"]),
        (change_outputs, ["mask.safetensors does not fit test_resnet with 2 outputs"]),
        (change_crop, ["crop.detector.weights.onet was 'ffffffffffff...' and is '"]),
    ],
)
def test_what_is_wrong_is_named_and_all_of_it(bundle, harm, messages):
    harm(bundle)
    result = faceline("bundle", "verify", bundle, "--json", ok=False)
    assert result.exit_code == 1
    problems = last_json(result)["problems"]
    assert len(problems) == len(messages)
    assert all(any(message in problem for problem in problems) for message in messages), problems


def test_what_is_no_problem_is_a_note(bundle):
    for name in ("README.md", "trained_photos.safetensors"):
        (bundle / name).unlink()
    (bundle / "notes.txt").write_text("mine")
    verified = verify_bundle(bundle)
    assert not verified.problems
    assert len(verified.notes) == 3
    assert "notes.txt" in verified.notes[2]


def test_predictions_of_a_zip_are_those_of_the_folder(bundle, finished, tmp_path):
    faceline("bundle", "zip", bundle, "--out", tmp_path / "b.zip")
    for name, path in (("folder", bundle), ("zip", tmp_path / "b.zip")):
        faceline("predict", finished.data / "eval" / "images", "--bundle", path, "--out", tmp_path / name, "--cache",
                 finished.cache, "--device", "cpu")  # fmt: skip
    tables = [(tmp_path / name / "predictions.csv").read_text() for name in ("folder", "zip")]
    assert tables[0] == tables[1]
    digests = [json.loads((tmp_path / name / "predictions.json").read_text())["bundles"][0]["sha256"]
               for name in ("folder", "zip")]  # fmt: skip
    assert digests[0] == digests[1]
    again = faceline("predict", finished.data / "eval" / "images", "--bundle", tmp_path / "b.zip", "--out",
                     tmp_path / "folder", "--cache", finished.cache, "--device", "cpu")  # fmt: skip
    assert "Predictions" in again.stdout, "the same bundle may replace its predictions"


def test_what_is_no_bundle_is_refused(tmp_path):
    (tmp_path / "b.zip").write_bytes(b"no zip")
    for path in (tmp_path, tmp_path / "b.zip", tmp_path / "gone"):
        with pytest.raises(BundleError, match="is no bundle"):
            faceline("bundle", "inspect", path)
