"""Prediction from Python: a Predictor, and the Python lines of the documentation."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image as Pillow

from cache.store import Store
from detect.subject_finder import SubjectFinder
from faceline import Predictor

HOUSE = Path(__file__).parents[3]


@pytest.fixture
def folder(photos, tmp_path, monkeypatch) -> Path:
    """The current folder, with four photos."""
    monkeypatch.chdir(tmp_path)
    for name, photo in zip("abcd", photos, strict=False):
        Pillow.fromarray(photo).save(f"{name}.jpg")
    return tmp_path


@pytest.fixture
def predictor(finished, folder):
    return Predictor(finished.run / "bundle", device="cpu", cache=folder / "cache")


def test_a_path_is_one_photo_and_a_sequence_is_many(predictor, folder):
    assert predictor.predict("a.jpg")["path"].to_list() == ["a.jpg"]
    assert predictor.predict(Path("b.jpg"))["path"].to_list() == ["b.jpg"]
    assert predictor.predict(["b.jpg", Path("a.jpg"), "b.jpg"])["path"].to_list() == ["b.jpg", "a.jpg", "b.jpg"]
    assert predictor.predict(path for path in sorted(folder.glob("*.jpg"))).height == 4
    assert predictor.predict([]).height == 0
    assert predictor.predict("gone.jpg")["status"].to_list() == ["unreadable"]


def test_what_was_loaded_is_kept_between_calls(predictor, monkeypatch):
    made = Counter()
    for kind in (Store, SubjectFinder):

        def count(self, *arguments, kind=kind, make=kind.__init__, **more):
            made[kind] += 1
            make(self, *arguments, **more)

        monkeypatch.setattr(kind, "__init__", count)
    first = predictor.predict("a.jpg")
    predictor.predict("b.jpg")
    assert predictor.predict("a.jpg").equals(first)
    assert made == {Store: 2, SubjectFinder: 1}, "the crops' store and the detections'"


def test_the_cache_may_be_deleted_between_calls(predictor, folder):
    first = predictor.predict("a.jpg")
    shutil.rmtree(folder / "cache")
    assert predictor.predict("a.jpg").equals(first)


def test_threads_share_a_predictor(predictor):
    paths = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"] * 3
    with ThreadPoolExecutor(4) as pool:
        tables = list(pool.map(predictor.predict, paths))
    assert [table["path"][0] for table in tables] == paths
    for path, table in zip(paths, tables, strict=True):
        assert table.equals(predictor.predict(path))


def python_blocks():
    # That of architecture.md is no program: tests/test_architecture.py puts it where the page says.
    for page in [HOUSE / "README.md", *sorted((HOUSE / "docs").rglob("*.md"))]:
        for code in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            if page.name != "architecture.md":
                yield pytest.param(code, id=page.name)


@pytest.mark.parametrize("code", [*python_blocks()])
def test_the_documentations_python_lines_run_in_a_process_of_their_own(code, finished, folder):
    (folder / "RUN").symlink_to(finished.run)
    path = f"import sys; sys.path.insert(0, {str(HOUSE)!r})\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", path + code + "\nassert table.height in {1, 2}, table"],
        capture_output=True, text=True, check=False, env={**os.environ, "FACELINE_CACHE": str(folder / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
