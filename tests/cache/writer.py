"""Commits two units of facts and of crops, for tests that kill it."""

from cache.store import CropStore, FactStore
from tests.cache.conftest import SPEC, photo

UNITS = [[photo(0), photo(1, outcome="truncated"), photo(2)], [photo(3)]]
FACTS = {"detector": 1}


def commit_all(root):
    """Commits what is missing; returns the source ids of the new photos."""
    facts, crops = FactStore(root, FACTS), CropStore(root, SPEC)
    new = []
    for unit in UNITS:
        sources = [entry.source for entry, _ in unit]
        if facts.missing(sources):
            facts.commit([entry for entry, _ in unit])
        if missing := crops.missing(sources):
            crops.commit(unit)
            new += missing
    return new
