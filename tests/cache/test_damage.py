"""A thousand random damages: a flipped bit, or a block of zeros, anywhere in crops and manifests."""

import random

import numpy as np
import pytest

from cache.errors import CacheError
from cache.pack import pack
from cache.store import CropStore, FactStore
from cache.verify import verify
from tests.cache.conftest import SPEC, photo, source

FACTS = {"detector": 1}
DAMAGES = 1000
CROPS = [source(n) for n in (0, 1, 2, 4, 5, 6)]


def damaged(content, chance):
    offset = chance.randrange(len(content))
    if chance.random() < 0.5:
        return content[:offset] + bytes([content[offset] ^ (1 << chance.randrange(8))]) + content[offset + 1 :]
    length = min(chance.choice([1, 64, 4096]), len(content) - offset)
    return content[:offset] + bytes(length) + content[offset + length :]


def read_as_training_does(root):
    store = CropStore(root, SPEC)
    return pack(store, CROPS, (4,), {}, lambda content, _: np.frombuffer(content[:4], np.uint8))


@pytest.fixture
def units(filled):
    """The files of a cache of crops and of facts, one of whose units was tried again."""
    store, facts = CropStore(filled, SPEC), FactStore(filled, FACTS)
    facts.commit([photo(n, outcome="truncated")[0] for n in range(2)])
    facts.commit([photo(n)[0] for n in range(2)])
    facts.commit([photo(n)[0] for n in range(2, 7)])
    assert store.entry(source(3)).outcome == "truncated"
    return [path for path in filled.glob("*/*/units/**/*") if path.is_file()]


def test_every_damage_is_found_by_verify_and_by_whoever_reads(filled, units):
    chance = random.Random(5)
    verified = read = 0
    for _ in range(DAMAGES):
        file = chance.choice(units)
        original = file.read_bytes()
        while (changed := damaged(original, chance)) == original:
            pass
        file.write_bytes(changed)
        reported = verify(filled).damaged
        verified += any(file.name == damage.file for damage in reported)
        if "detect" in file.parts:
            read += file in FactStore(filled, FACTS).damaged
        else:
            try:
                read_as_training_does(filled)
            except CacheError:
                read += 1
        file.write_bytes(original)
    assert (verified, read) == (DAMAGES, DAMAGES)
    assert verify(filled).damaged == ()
    assert len(read_as_training_does(filled)) == len(CROPS)
