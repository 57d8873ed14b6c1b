"""benchmarks/gpu.py runs from end to end without a GPU, and says why when it does not."""

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
TINY = ["--people", "4", "--seconds", "1", "--backbones", "test_resnet", "--input", "32", "24"]
WITH_LIMIT = {
    "crops: subjects with the CPU's box",
    "crops: mean difference from the CPU's pixels",
    "files to crops: photos/s",
    "files to crops: waits for",
    "photos of any size to crops: photos/s",
    "training test_resnet: images/s",
    "training test_resnet: waits for data",
    "predicting with test_resnet: photos/s",
    "seconds in all",
}
ON_GPU = {f"{part}: GPU memory" for part in ("files to crops", "training test_resnet", "predicting with test_resnet")}


def run(*options):
    words = [sys.executable, str(SCRIPT), *TINY, *options]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=240)


def table(text):
    """Name -> the row's other cells: measured, limit, share of the limit, remark."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")][2:]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


def test_each_figure_stands_beside_its_limit_or_says_why_it_is_missing():
    done = run("--device", "cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = table(done.stdout)
    assert rows.keys() == WITH_LIMIT | ON_GPU
    for name in WITH_LIMIT:
        assert all(cell and "not measured" not in cell for cell in rows[name][:2]), rows[name]
    for name in ON_GPU:
        assert rows[name][:2] == ["not measured: no GPU", "-"]
    assert rows["crops: subjects with the CPU's box"][2] == "100.0%"
    assert rows["crops: mean difference from the CPU's pixels"][0].startswith("0.0000 ")


def test_a_spent_budget_ends_the_run_with_the_table():
    done = run("--device", "cpu", "--budget", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = table(done.stdout)
    assert rows.keys() == WITH_LIMIT | ON_GPU
    assert all("over" in cells[0] for name, cells in rows.items() if name != "seconds in all")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_nothing_is_run():
    done = run()
    assert (done.returncode, done.stdout.strip()) == (0, "no GPU: not run")


def test_packages_from_the_folder_of_wheels_are_imported(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "only_here-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("only_here.py", "answer = 42\n")
        wheel.writestr("only_here-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: only-here\nVersion: 1.0\n")
        wheel.writestr(
            "only_here-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("only_here-1.0.dist-info/RECORD", "")
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec = importlib.util.spec_from_file_location("gpu_benchmark", SCRIPT)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    benchmark.install_wheels(tmp_path, tmp_path / "packages", timeout_s=60)
    assert importlib.import_module("only_here").answer == 42
    with pytest.raises(SystemExit, match="no wheels"):
        benchmark.install_wheels(tmp_path / "packages", tmp_path / "other", timeout_s=60)
