"""Drawn people for every test, drawn once."""

import os
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


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test touches the user's cache."""
    monkeypatch.setenv("FACELINE_CACHE", str(tmp_path / "cache"))
