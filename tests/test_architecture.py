"""The map is true: its picture is current, it has every room, its recipe works, and the docs name files that exist."""

import importlib.util
import re
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from tests.test_house import HOUSE, PACKAGES, ROOMS

DOCS = HOUSE / "docs"
MAP = DOCS / "architecture.md"
PAGES = [HOUSE / "README.md", HOUSE / "CONTRIBUTING.md", HOUSE / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
VALUES = {"Photo", "Subject", "Crop", "Sample", "batch", "logits", "probabilities", "answer", "row"}
TOP = {*PACKAGES, "tests", "docs", "examples", "benchmarks", ".ci"}


def picture_script():
    spec = importlib.util.spec_from_file_location("draw_architecture", DOCS / "draw_architecture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rooms_and_modules():
    for package in PACKAGES:
        yield package
        yield from (f"{package}/{room}" for room in ROOMS.get(package, []) if room)


def test_the_picture_is_what_the_script_draws():
    drawn = picture_script().draw()
    assert (DOCS / "architecture.svg").read_text(encoding="utf-8") == drawn, "run: python docs/draw_architecture.py"


def test_the_picture_has_every_room_in_the_order_of_the_imports():
    script = picture_script()
    assert list(script.ROOMS) == list(PACKAGES)
    assert {package: list(rooms) for package, rooms in script.ROOMS.items() if package in ROOMS} == ROOMS
    drawing = ElementTree.fromstring((DOCS / "architecture.svg").read_text(encoding="utf-8"))
    drawn = [element.get("data-room") for element in drawing.iter() if element.get("data-room")]
    assert drawn == list(rooms_and_modules())


def test_the_picture_has_every_value_and_leads_through_rooms_that_exist():
    drawing = ElementTree.fromstring((DOCS / "architecture.svg").read_text(encoding="utf-8"))
    assert {element.get("data-value") for element in drawing.iter()} >= VALUES
    for way in picture_script().WAYS.values():
        assert set(way[1::2]) <= set(rooms_and_modules())


def test_the_map_has_a_paragraph_for_every_room():
    text = MAP.read_text(encoding="utf-8")
    for room in rooms_and_modules():
        package, _, inside = room.partition("/")
        suffix = ".py" if inside and (HOUSE / f"{room}.py").is_file() else ""
        heading = f"**`{room}{suffix}`.**" if inside else f"\n## {package}\n"
        assert text.count(heading) == 1, room


def exists(path):
    return (HOUSE / path).is_dir() if path.endswith("/") else (HOUSE / path).exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_path_in_the_docs_exists(page):
    text = page.read_text(encoding="utf-8")
    tokens = set(re.findall(r"`([\w.][\w./-]*)`", text))
    paths = {token for token in tokens if "/" in token and (token.split("/")[0] in TOP or token.endswith(".py"))}
    assert {token for token in paths if not exists(token)} == set()
    bare = {token for token in tokens if "/" not in token and token.endswith(".py")}
    assert {name for name in bare if not any(HOUSE.glob(f"*/**/{name}"))} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_module_and_script_that_the_docs_run_or_name_exists(page):
    text = page.read_text(encoding="utf-8")
    modules = re.findall(rf"python3? -m ((?:{'|'.join(PACKAGES)})[\w.]*)", text)
    modules += re.findall(r"`((?:pipeline|classify)(?:\.[a-z_]+)+)`", text)  # `detect.mode` and the like are settings
    for path in {module.replace(".", "/") for module in modules}:
        assert exists(f"{path}.py") or exists(f"{path}/__init__.py"), path
    for script in re.findall(r"python3? ([\w/]+\.py)", text):
        assert exists(script), script


def edited(text, diff):
    """The text after a diff without line numbers; the lines that it removes or keeps must be there once."""
    lines = diff.splitlines()
    before = "\n".join(line[1:] for line in lines if not line.startswith("+"))
    after = "\n".join(line[1:] for line in lines if not line.startswith("-"))
    assert text.count(before) == 1, before
    return text.replace(before, after)


def test_a_loss_is_added_by_the_edits_of_two_files_that_the_map_prescribes(tmp_path):
    for package in ("cache", "classify"):
        shutil.copytree(HOUSE / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    section = MAP.read_text(encoding="utf-8").split("### A loss\n")[1].split("\n### ")[0]
    (function,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    in_losses, in_config = re.findall(r"```diff\n(.*?)```", section, re.DOTALL)
    assert re.findall(r"[Ii]n `(\w+/[\w/.]+)`", section) == ["classify/models/losses.py", "classify/config.py"]

    losses, config = tmp_path / "classify" / "models" / "losses.py", tmp_path / "classify" / "config.py"
    losses.write_text(edited(losses.read_text(encoding="utf-8"), in_losses) + "\n\n" + function, encoding="utf-8")
    config.write_text(edited(config.read_text(encoding="utf-8"), in_config), encoding="utf-8")
    words = [sys.executable, "-c", TRAIN_WITH_IT]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(losses), "the loss is less than half of the first"]


TRAIN_WITH_IT = """
import numpy as np
import torch

import classify.models.losses
from classify.config import TaskConfig
from classify.models.heads import build_heads

config = TaskConfig(classes=("no", "yes"), train={"loss": "brier"})
heads = build_heads([config.task("smile")], [config])
codes = np.array([[0], [1], [1], [-1]])
targets = torch.from_numpy(heads.encode(codes, np.full(codes.shape, np.nan)))
torch.manual_seed(0)
network, images = torch.nn.Linear(4, heads.outputs), torch.eye(4)
optimiser = torch.optim.SGD(network.parameters(), lr=1.0)
losses = []
for _ in range(20):
    loss = heads.loss(network(images), targets)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    losses.append(loss.item())
print(classify.models.losses.__file__)
print("the loss is less than half of the first" if losses[-1] < 0.5 * losses[0] else losses)
"""
