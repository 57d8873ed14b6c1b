"""What holds the house together: who may import whom, and what must stay light."""

import ast
import graphlib
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
PACKAGES = {"cache": set(), "detect": {"cache"}, "classify": {"cache"}, "pipeline": {"cache", "detect", "classify"}}
# The rooms inside a package in the order of a photo's way: each imports only itself and those before it. "" is the
# ground floor, the modules that stand in the package itself.
ROOMS = {
    "classify": ["", "evaluation", "masks", "models", "data", "inference", "training"],
    "pipeline": [
        "", "intake", "detection", "prediction", "evaluation", "training", "reports", "export", "serving", "labels",
        "chain", "experiments", "demo", "commands", "__main__",
    ],
}  # fmt: skip
FILES = {
    ".".join(path.relative_to(HOUSE).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((HOUSE / package).rglob("*.py"))
}


def imported(path):
    """The dotted names that a module imports, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports hide which room is meant"
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                yield below if below in FILES else node.module


IMPORTS = {module: {name for name in imported(path) if name in FILES} for module, path in FILES.items()}


def room_of(module):
    """The number of a module's room; a module that no room is named after stands on the ground floor."""
    package, _, rest = module.partition(".")
    room = rest.split(".")[0]
    is_ground = (HOUSE / package / f"{room}.py").is_file() and room not in ROOMS[package]
    return ROOMS[package].index("" if is_ground else room)


@pytest.mark.parametrize("module", FILES)
def test_a_package_imports_only_the_packages_below_it(module):
    package = module.split(".")[0]
    roots = {name.split(".")[0] for name in imported(FILES[module])}
    assert roots & PACKAGES.keys() <= {package} | PACKAGES[package]


@pytest.mark.parametrize("module", [module for module in FILES if module.split(".")[0] in ROOMS])
def test_a_room_imports_only_the_rooms_before_it(module):
    package = module.split(".")[0]
    later = {name for name in IMPORTS[module] if name.startswith(f"{package}.") and room_of(name) > room_of(module)}
    assert not later


def test_every_folder_is_a_room_that_the_order_knows_and_every_room_is_there():
    for package, rooms in ROOMS.items():
        folders = {path.parent.name for path in (HOUSE / package).glob("*/__init__.py")}
        named = {room for room in rooms if room and not (HOUSE / package / f"{room}.py").is_file()}
        assert folders == named


def test_no_modules_import_each_other_in_a_circle():
    graphlib.TopologicalSorter(IMPORTS).prepare()


def test_the_order_and_the_circles_are_seen(monkeypatch):
    monkeypatch.setitem(IMPORTS, "cache.atomic", {"cache.unit"})
    with pytest.raises(graphlib.CycleError):
        test_no_modules_import_each_other_in_a_circle()
    monkeypatch.setitem(IMPORTS, "pipeline.intake.load", {"pipeline.chain"})
    with pytest.raises(AssertionError):
        test_a_room_imports_only_the_rooms_before_it("pipeline.intake.load")


@pytest.mark.parametrize("path", FILES.values(), ids=FILES)
def test_nothing_is_pickled(path):
    assert not {name.split(".")[0] for name in imported(path)} & {"pickle", "dill", "joblib", "cloudpickle", "shelve"}
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
    assert not loaded_by("import pipeline.commands.app") & (heavy | {"numpy", "polars", "pydantic"})
    rooms = "from pipeline.detection import detect, shards; from pipeline.intake import check, corrections, load"
    assert not loaded_by(rooms) & heavy
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
    for path in FILES.values():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), path
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 320, path


@pytest.mark.parametrize("path", sorted((HOUSE / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_takes_from_the_rooms_is_there(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
            package = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(package, alias.name)] == [], node.module
