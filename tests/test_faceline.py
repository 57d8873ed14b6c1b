"""The public names, as a user's program and a type checker meet them."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import faceline

HOUSE = Path(__file__).parents[1]
STUB = HOUSE / "pipeline" / "stubs" / "faceline-stubs"
MISUSE = """
import faceline
from faceline import FaceDetector, Predictor

FaceDetector(min_face="forty")
Predictor(3)
Predictor("RUN/bundle").predict(1)
Predictor("RUN/bundle").predicts(["a.jpg"])
Predictor("RUN/bundle").predict(["a.jpg"]).no_column
Predictor("RUN/bundle").predict("a.jpg").age.label.no_string
number: int = Predictor("RUN/bundle").predict("a.jpg").age.probability
FaceDetector().detect([])[0].boxes.no_attribute
faceline.Predictr
version: int = faceline.__version__
error: faceline.FacelineError = faceline.DataError("good")
"""


def run(*words, cwd, **environment):
    command = [sys.executable, *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, env={**os.environ, **environment}
    )


@pytest.mark.parametrize(("flags", "name"), [("-I", "Predictor"), ("-IS", "DataError"), ("-IS", "__version__")])
def test_a_fresh_interpreter_imports_a_public_name(flags, name, tmp_path):
    # -S: the loader of an editable installation would import importlib.util before us.
    code = f"import sys; sys.path.insert(0, {str(HOUSE)!r}); from faceline import {name}"
    done = run(flags, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there_and_every_error_is_public():
    for name in faceline.__all__:
        assert getattr(faceline, name) is not None
    assert {error.__name__ for error in faceline.FacelineError.__subclasses__()} <= set(faceline.__all__)


def test_python_m_faceline_is_the_command_line(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "__init__.py").write_text("raise RuntimeError('this is mine')")
    done = run("-m", "faceline", "check", "nowhere", cwd=tmp_path, PYTHONPATH=str(HOUSE))
    assert done.returncode == 2, done.stderr
    assert "no folder or table nowhere" in done.stderr
    assert "Usage: faceline [OPTIONS]" in run("-m", "faceline", "--help", cwd=HOUSE).stdout


def test_the_version_is_the_installed_one_or_unknown(monkeypatch):
    import importlib.metadata

    monkeypatch.setattr(importlib.metadata, "version", lambda _: "7.8.9")
    assert faceline.__version__ == "7.8.9"

    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert faceline.__version__ == "unknown"


def errors_of_type_checker(folder, *roots):
    """Line -> rules of the errors in `folder`/misuse.py."""
    settings = {"pythonVersion": "3.11", "typeCheckingMode": "strict", "extraPaths": [str(root) for root in roots]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    (folder / "misuse.py").write_text(MISUSE)
    checker = shutil.which("basedpyright", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if checker is None:
        pytest.skip("basedpyright is not installed")
    words = [checker, "--outputjson", "--pythonpath", sys.executable, "-p", str(folder)]
    report = json.loads(subprocess.run(words, capture_output=True, text=True, check=False).stdout)
    return {
        MISUSE.splitlines()[problem["range"]["start"]["line"]]: problem["rule"]
        for problem in report["generalDiagnostics"]
        if problem["severity"] == "error"
    }


@pytest.mark.parametrize("installed", [False, True], ids=["checkout", "installed"])
def test_a_type_checker_sees_real_types(tmp_path, installed):
    site = tmp_path / "site"
    site.mkdir()
    if installed:  # the stub stands beside the packages, as pyproject.toml installs it
        for part in (*map(HOUSE.joinpath, ("cache", "detect", "classify", "pipeline", "faceline.py")), STUB):
            (site / part.name).symlink_to(part)
    (tmp_path / "user").mkdir()
    errors = errors_of_type_checker(tmp_path / "user", site if installed else HOUSE)
    expected = {
        'FaceDetector(min_face="forty")': "reportArgumentType",
        "Predictor(3)": "reportArgumentType",
        'Predictor("RUN/bundle").predict(1)': "reportArgumentType",
        'Predictor("RUN/bundle").predicts(["a.jpg"])': "reportAttributeAccessIssue",
        'Predictor("RUN/bundle").predict(["a.jpg"]).no_column': "reportAttributeAccessIssue",
        'Predictor("RUN/bundle").predict("a.jpg").age.label.no_string': "reportAttributeAccessIssue",
        'number: int = Predictor("RUN/bundle").predict("a.jpg").age.probability': "reportAssignmentType",
        "FaceDetector().detect([])[0].boxes.no_attribute": "reportAttributeAccessIssue",
        "faceline.Predictr": "reportAttributeAccessIssue",
        "version: int = faceline.__version__": "reportAssignmentType",
    }
    assert {line: errors.get(line) for line in expected} == expected
    assert "import faceline" not in errors
    assert MISUSE.splitlines()[-1] not in errors


def test_the_stub_names_exactly_the_public_names():
    tree = ast.parse((STUB / "__init__.pyi").read_text(encoding="utf-8"))
    names = [alias.asname for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted([*names, "__version__"]) == sorted(faceline.__all__)
