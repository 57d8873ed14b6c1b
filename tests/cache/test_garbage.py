import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from cache.errors import CacheError
from cache.garbage import delete_garbage, find_garbage
from cache.pack import pack
from cache.store import CropStore, FactStore
from cache.verify import verify
from tests.cache.conftest import SPEC, photo, source

OTHER = {"crop": {"height": 9}, "detector": "none"}


def garbage_in(root, *used):
    return {(item.place, item.why) for item in find_garbage(root, used)}


def packed(store):
    pack(store, [source(4)], (2,), {}, lambda crop, facts: np.frombuffer(crop[:2], np.uint8))


def test_what_is_in_use_is_no_garbage(filled):
    store = CropStore(filled, SPEC)
    packed(store)
    assert garbage_in(filled, store.fingerprint) == set()
    assert garbage_in(filled, store.fingerprint[:16]) == set()


def test_the_folders_of_other_fingerprints_and_their_packs_are_unused(filled):
    store, other = CropStore(filled, SPEC), CropStore(filled, OTHER)
    packed(store)
    other.commit([photo(4)])
    FactStore(filled, OTHER).commit([photo(4)[0]])
    [pack_folder] = (filled / "packs").iterdir()
    assert garbage_in(filled, other.fingerprint) == {
        (f"crops/{store.fingerprint[:16]}", "unused"),
        (f"packs/{pack_folder.name}", "unused"),
    }
    assert garbage_in(filled, store.fingerprint) == {
        (f"crops/{other.fingerprint[:16]}", "unused"),
        (f"detect/{other.fingerprint[:16]}", "unused"),
    }


def test_deleting_leaves_what_is_in_use_as_it_was(filled):
    store, other = CropStore(filled, SPEC), CropStore(filled, OTHER)
    other.commit([photo(4)])
    garbage = find_garbage(filled, [store.fingerprint])
    assert sum(item.size_bytes for item in garbage) > 600
    delete_garbage(filled, garbage)
    assert find_garbage(filled, [store.fingerprint]) == []
    assert not other.folder.exists()
    assert list((filled / "tmp").iterdir()) == []
    assert verify(filled).damaged == ()
    assert CropStore(filled, SPEC).read(source(6)) == photo(6)[1]


def test_a_unit_whose_photos_are_all_read_from_others_is_superseded(filled):
    store = CropStore(filled, SPEC)
    before = {unit.name for unit in store.folder.glob("units/??/*")}
    store.commit([photo(3)])  # failed before, in a unit with others
    assert garbage_in(filled, store.fingerprint) == set()
    single = photo(8, outcome="truncated")
    store.commit([single])
    store.commit([photo(8)])
    [(place, why)] = garbage_in(filled, store.fingerprint)
    assert why == "superseded"
    assert place.rsplit("/", 1)[1] not in before
    delete_garbage(filled, find_garbage(filled, [store.fingerprint]))
    assert CropStore(filled, SPEC).read(source(8)) == photo(8)[1]


def test_a_failure_that_was_replaced_by_another_one_is_superseded(root):
    store = CropStore(root, SPEC)
    old = store.commit([photo(8, outcome="missing")])
    store.commit([photo(8, outcome="truncated"), photo(9)])
    [(place, why)] = garbage_in(root, store.fingerprint)
    assert (place.rsplit("/", 1)[1], why) == (old, "superseded")


def test_staging_is_abandoned_when_its_process_is_dead_or_it_is_old(filled):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here = socket.gethostname()
    for host, process in [(here, dead.pid), (here, os.getpid()), ("elsewhere", dead.pid), ("old", dead.pid)]:
        (filled / "tmp" / f"unit.{host}.{process}.0123").mkdir(parents=True)
    yesterday = time.time() - 25 * 3600
    os.utime(filled / "tmp" / f"unit.old.{dead.pid}.0123", (yesterday, yesterday))
    found = garbage_in(filled, CropStore(filled, SPEC).fingerprint)
    assert found == {(f"tmp/unit.{host}.{dead.pid}.0123", "abandoned") for host in (here, "old")}


def test_a_cache_that_is_not_there_holds_no_garbage(tmp_path):
    assert find_garbage(tmp_path / "nowhere", []) == []


def test_what_cannot_be_deleted_is_one_clear_error(filled, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    garbage = find_garbage(filled, [])
    monkeypatch.setattr("pathlib.Path.rename", refuse)
    with pytest.raises(CacheError, match="cannot write to the cache"):
        delete_garbage(filled, garbage)
