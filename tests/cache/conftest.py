"""Crops that are only bytes: this package does not decode them."""

import hashlib
import random
import shutil

import pytest

from cache.store import CropStore
from cache.unit import Entry

SPEC = {"crop": {"height": 8}, "detector": "none"}


def source(number):
    return hashlib.sha256(f"photo {number}".encode()).hexdigest()


def crop(number, size=600):
    return random.Random(number).randbytes(size)


def photo(number, *, outcome="ok", content=None):
    """An item of a commit: an entry and its crop."""
    entry = Entry(source(number), f"photos/{number}.jpg", outcome, {"box": [number, 0.5]})
    return entry, (content or crop(number)) if outcome == "ok" else None


@pytest.fixture
def root(tmp_path):
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def filled_once(tmp_path_factory):
    root = tmp_path_factory.mktemp("filled") / "cache"
    store = CropStore(root, SPEC)
    store.commit([photo(0), photo(1), photo(2), photo(3, outcome="truncated")])
    store.commit([photo(4), photo(5), photo(6)])
    return root


@pytest.fixture
def filled(root, filled_once):
    """A cache of two units: photos 0 to 3 of which 3 failed, and photos 4 to 6."""
    return shutil.copytree(filled_once, root)


def unit_of(root, number):
    """The folder of the unit that holds a photo."""
    [manifest] = [path for path in root.glob("crops/*/units/*/*/manifest.jsonl") if source(number) in path.read_text()]
    return manifest.parent
