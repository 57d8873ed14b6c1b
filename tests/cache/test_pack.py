import errno
import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from cache.errors import CacheError
from cache.pack import pack
from cache.store import CropStore
from tests.cache.conftest import SPEC, crop, photo, source, unit_of

SHAPE = (2, 3)
SOURCES = [source(number) for number in (5, 0, 4, 0)]


def prepare(content, facts):
    row = np.frombuffer(content[:6], np.uint8).reshape(SHAPE).copy()
    row[0, 0] = facts["box"][0]
    return row


def never(content, facts):
    raise AssertionError("the pack was made again")


def expected(number):
    return prepare(crop(number), {"box": [number]})


@pytest.fixture
def store(filled):
    return CropStore(filled, SPEC)


@pytest.fixture
def a_new_process(monkeypatch):
    """Forget which packs were checked."""
    monkeypatch.setattr("cache.pack._trusted", set())


def test_rows_are_the_prepared_crops_in_the_requested_order(store):
    pixels = pack(store, SOURCES, SHAPE, {}, prepare, threads=3)
    assert isinstance(pixels, np.memmap)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.stack([expected(number) for number in (5, 0, 4, 0)]))


def test_a_pack_is_read_only(store):
    with pytest.raises(ValueError, match="read-only"):
        pack(store, SOURCES, SHAPE, {}, prepare)[0, 0, 0] = 1


def test_a_pack_is_used_again_by_the_same_and_by_the_next_process(store, monkeypatch):
    first = pack(store, SOURCES, SHAPE, {"a": 1}, prepare)
    np.testing.assert_array_equal(pack(store, SOURCES, SHAPE, {"a": 1}, never), first)
    monkeypatch.setattr("cache.pack._trusted", set())
    np.testing.assert_array_equal(pack(CropStore(store.root, SPEC), SOURCES, SHAPE, {"a": 1}, never), first)


@pytest.mark.parametrize(
    ("sources", "shape", "key"), [(SOURCES[:3], SHAPE, {}), (SOURCES, (6,), {}), (SOURCES, SHAPE, {"a": 1})]
)
def test_other_crops_another_shape_or_another_key_make_another_pack(store, sources, shape, key):
    pack(store, SOURCES, SHAPE, {}, prepare)
    other = pack(store, sources, shape, key, lambda content, facts: prepare(content, facts).reshape(shape))
    assert other.shape == (len(sources), *shape)
    assert len(list(store.root.glob("packs/*"))) == 2


def test_a_pack_describes_what_it_was_made_of(store):
    pack(store, SOURCES, SHAPE, {"zoom": 2}, prepare)
    [described] = [json.loads(path.read_text()) for path in store.root.glob("packs/*/pack.json")]
    assert (described["rows"], described["shape"], described["key"]) == (4, [2, 3], {"zoom": 2})
    assert described["store"] == store.fingerprint


def test_no_photos_make_an_empty_pack(store):
    assert pack(store, [], SHAPE, {}, prepare).shape == (0, 2, 3)


def test_progress_counts_every_row_once(store):
    counts = []
    pack(store, SOURCES, SHAPE, {}, prepare, progress=counts.append)
    assert sum(counts) == len(SOURCES)


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "pack.json").unlink(),
        lambda folder: (folder / "pack.json").write_text("[]"),
        lambda folder: (folder / "pixels.npy").unlink(),
        lambda folder: (folder / "pixels.npy").write_bytes((folder / "pixels.npy").read_bytes()[:-1] + b"!"),
    ],
)
def test_a_damaged_pack_is_made_again_and_the_caller_is_told(store, a_new_process, harm):
    made = np.array(pack(store, SOURCES, SHAPE, {}, prepare))
    [folder] = store.root.glob("packs/*")
    harm(folder)
    warnings = []
    np.testing.assert_array_equal(pack(store, SOURCES, SHAPE, {}, prepare, warn=warnings.append), made)
    assert str(folder) in warnings[0]
    assert pack(store, SOURCES, SHAPE, {}, never, warn=warnings.append).shape == (4, 2, 3)
    assert len(warnings) == 1


def test_a_damaged_or_missing_crop_stops_the_pack_and_leaves_nothing(store):
    (unit_of(store.root, 4) / f"{source(5)[:16]}.jpg").write_bytes(b"torn")
    for sources, text in ((SOURCES, "verify --repair"), ([source(3)], "truncated"), ([source(9)], "faceline detect")):
        with pytest.raises(CacheError, match=text):
            pack(store, sources, SHAPE, {}, prepare)
    assert not (store.root / "packs").exists()
    assert list((store.root / "tmp").iterdir()) == []


@pytest.mark.parametrize("row", [np.zeros((1, 3), np.uint8), np.zeros(SHAPE, np.float32)])
def test_a_row_of_another_shape_or_type_is_refused(store, row):
    with pytest.raises(ValueError, match="expected"):
        pack(store, SOURCES, SHAPE, {}, lambda *_: row)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_cache_that_cannot_be_written_gives_an_array_in_memory(store, monkeypatch, number):
    on_disk = np.array(pack(store, SOURCES, SHAPE, {}, prepare))

    def refuse(*_args, **_more):
        raise OSError(number, os.strerror(number))

    for step in ("mkdir", "rename"):  # at the first step, and after the rows were made
        with monkeypatch.context() as patched:
            patched.setattr(Path, step, refuse)
            pixels = pack(store, SOURCES, SHAPE, {"step": step}, prepare)
        assert not isinstance(pixels, np.memmap)
        assert not pixels.flags.writeable
        np.testing.assert_array_equal(pixels, on_disk)


def test_a_pack_that_is_there_is_used_from_a_cache_that_cannot_be_written(store, monkeypatch):
    pack(store, SOURCES, SHAPE, {}, prepare)
    monkeypatch.setattr(Path, "mkdir", never)
    assert pack(store, SOURCES, SHAPE, {}, never).shape == (4, 2, 3)


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(store, monkeypatch):
    def full(_handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(CacheError, match="No space left"):
            pack(store, SOURCES, SHAPE, {}, prepare)
    assert list((store.root / "tmp").iterdir()) == []
    assert pack(store, SOURCES, SHAPE, {}, prepare).shape == (4, 2, 3)


def test_two_that_make_the_same_pack_at_once_both_get_it_and_one_stays(store):
    both = threading.Barrier(2)

    def slow(content, facts):
        both.wait(timeout=20)
        return prepare(content, facts)

    made = {}

    def make(name):
        made[name] = pack(CropStore(store.root, SPEC), SOURCES, SHAPE, {}, slow)

    makers = [threading.Thread(target=make, args=(name,)) for name in ("a", "b")]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    np.testing.assert_array_equal(made["a"], made["b"])
    assert len(list(store.root.glob("packs/*"))) == 1


def test_a_committed_crop_that_replaces_another_makes_another_pack(tmp_path):
    for folder, content in (("a", b"first!"), ("b", b"other!")):
        store = CropStore(tmp_path / folder, SPEC)
        store.commit([photo(0, content=content)])
        pack(store, [source(0)], SHAPE, {}, prepare)
    assert len({path.name for path in tmp_path.glob("*/packs/*")}) == 2
