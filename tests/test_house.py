"""What holds the house together: who may import whom, and what must stay light."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
ROOMS = {"cache": set(), "detect": {"cache"}, "classify": {"cache"}, "pipeline": {"cache", "detect", "classify"}}
MODULES = [path for room in ROOMS for path in sorted((HOUSE / room).glob("*.py"))]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_a_room_imports_only_the_rooms_below_it(path):
    room = path.parent.name
    assert set(imported(path)) & ROOMS.keys() <= {room} | ROOMS[room]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_nothing_is_pickled(path):
    assert not set(imported(path)) & {"pickle", "dill", "joblib", "cloudpickle", "shelve"}
    text = path.read_text(encoding="utf-8")
    assert "torch.save" not in text
    assert all("weights_only=True" in call for call in re.findall(r"torch\.load\(.*", text))
    assert "allow_pickle=True" not in text


def loaded_by(code):
    words = [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=HOUSE)
    return set(done.stdout.split())


def test_the_command_line_and_an_idle_detect_import_nothing_heavy():
    heavy = {"torch", "cv2", "timm", "sklearn", "albumentations", "matplotlib", "facenet_pytorch"}
    assert not loaded_by("import pipeline.cli") & (heavy | {"numpy", "polars", "pydantic"})
    assert not loaded_by("import pipeline.stages, pipeline.detection") & heavy
    assert not loaded_by("import faceline, detect, cache") & (heavy | {"numpy"})


def test_the_public_names_are_the_rooms_own():
    import faceline
    from detect import FaceDetector

    assert faceline.FaceDetector is FaceDetector
    assert set(faceline.__all__) <= set(dir(faceline))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        faceline.Nothing  # noqa: B018


@pytest.mark.parametrize("shadow", ["cache/__init__.py", "detect.py", "pipeline/readme.txt"])
def test_a_folder_or_file_of_the_users_in_the_way_is_named(shadow, tmp_path):
    (tmp_path / shadow).parent.mkdir(exist_ok=True)
    (tmp_path / shadow).write_text("")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.path.append({str(HOUSE)!r}); import faceline"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    if shadow.endswith("readme.txt"):
        assert done.returncode == 0, "a folder without Python code does not shadow an installed package"
    else:
        assert "ImportError" in done.stderr
        assert str(tmp_path) in done.stderr
        assert "Rename that" in done.stderr


def test_every_module_says_what_it_is_and_is_one_idea_long():
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), path
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 320, path


@pytest.mark.parametrize("path", sorted((HOUSE / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_takes_from_the_rooms_is_there(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ROOMS:
            room = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(room, alias.name)] == [], node.module
