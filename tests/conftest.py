"""Drawn people for every test, drawn once, and a browser."""

import os
import shutil
from pathlib import Path

# Two test processes on two cores: with two threads each they would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

from pipeline.demo.dataset import STEMS, draw_data_set
from pipeline.demo.face import draw_photo
from pipeline.demo.person import draw_person


@pytest.fixture(scope="session")
def photos():
    """One man's and one woman's seven photos, RGB uint8 (512, 384, 3)."""
    rng = np.random.default_rng(5)
    people = [draw_person(rng, 24, "female"), draw_person(rng, 45, "male")]
    return [draw_photo(person, stem, rng) for person in people for stem in STEMS]


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    """A data set of 12 people to train on and 6 to predict. Never write into it: copy it first."""
    return draw_data_set(tmp_path_factory.mktemp("drawn") / "data", people=12, seed=1)


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, driven by Playwright, with a camera that is drawn."""
    chromium = shutil.which("chromium") or pytest.skip("there is no chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", *camera])
        yield opened
        opened.close()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test touches the user's cache."""
    monkeypatch.setenv("FACELINE_CACHE", str(tmp_path / "cache"))
