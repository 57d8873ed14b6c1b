"""Caches in object stores: a local server that speaks S3, and a folder through the same library."""

import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from cache import cache_folder
from cache.errors import CacheError
from cache.garbage import delete_garbage, find_garbage
from cache.pack import pack
from cache.remote import mirror_of, remote_of
from cache.store import CropStore, FactStore
from cache.verify import stats, verify
from tests.cache.conftest import SPEC, crop, photo, source
from tests.cache.test_reader import Reader

pytest.importorskip("obstore", reason="the extra `objects` is not installed")


@pytest.fixture(scope="session")
def server():
    pytest.importorskip("moto.server", reason="moto is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "moto.server", "-p", str(port)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            urllib.request.urlopen(urllib.request.Request(f"{address}/bucket", method="PUT"), timeout=5).close()
            break
        except OSError:
            time.sleep(0.1)
    yield address
    process.kill()
    process.wait()


@pytest.fixture(params=["s3", "file"])
def url(request, tmp_path, monkeypatch):
    if request.param == "file":
        return f"file://{tmp_path / 'objects'}"
    settings = {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "us-east-1", "ALLOW_HTTP": "true",
                "ENDPOINT_URL": request.getfixturevalue("server")}  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    return f"s3://bucket/{tmp_path.name}"


@pytest.fixture
def machine(url, tmp_path):
    """Another machine's mirror of the same cache, a new one each time."""
    count = iter(range(100))

    def new():
        return mirror_of(url, tmp_path / f"machine{next(count)}")

    return new


UNIT = [photo(0), photo(1, outcome="truncated"), photo(2)]


def test_what_one_machine_commits_another_reads(machine):
    CropStore(machine(), SPEC).commit(UNIT)
    other = CropStore(machine(), SPEC)
    assert other.missing(source(n) for n in range(4)) == [source(3)]
    assert [other.read(source(n)) for n in (0, 2)] == [crop(0), crop(2)]
    assert other.entry(source(1)).outcome == "truncated"


def test_a_unit_is_one_tar_file_and_one_manifest(machine):
    root = machine()
    CropStore(root, SPEC).commit(UNIT)
    names = [obj.name.rpartition("/")[2] for obj in remote_of(root).list(root) if "units" in obj.name]
    assert sorted(Path(name).suffix for name in names) == [".jsonl", ".tar"]
    [tar] = root.glob("crops/*/units/??/*.tar")
    with tarfile.open(tar) as members:
        assert {name: members.extractfile(name).read() for name in members.getnames()} == {
            f"{source(n)[:16]}.jpg": crop(n) for n in (0, 2)
        }


def test_the_same_units_are_made_as_on_disk(machine, root):
    local, far = CropStore(root, SPEC), CropStore(machine(), SPEC)
    assert local.commit(UNIT) + ".jsonl" == far.commit(UNIT)
    for number in range(3):
        on_disk, remote = local.entry(source(number)), far.entry(source(number))
        assert (on_disk.facts, on_disk.outcome, on_disk.sha256) == (remote.facts, remote.outcome, remote.sha256)


def test_the_independent_reader_reads_a_mirror(machine):
    root = machine()
    store = CropStore(root, SPEC)
    store.commit(UNIT)
    assert Reader(store.folder).crop(source(2)) == crop(2)


def test_eight_racing_writers_have_one_winner_and_all_read_the_same(machine):
    roots = [machine() for _ in range(8)]
    start = threading.Barrier(8)
    failed = []

    def write(number):
        try:
            store = CropStore(roots[number], SPEC)
            store.entries()
            start.wait()
            for first in (0, 3, 6):
                store.commit([photo(n, content=bytes([number]) * (500 + n)) for n in range(first, first + 3)])
        except Exception as error:
            failed.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failed == []
    read = [[CropStore(root, SPEC).read(source(n)) for n in range(9)] for root in [*roots, machine()]]
    assert all(crops == read[0] for crops in read)
    for first in (0, 3, 6):
        assert len({content[0] for content in read[0][first : first + 3]}) == 1, "a unit is of one writer"
    assert verify(machine()).damaged == ()


def dies(*_):
    raise KeyboardInterrupt


@pytest.fixture
def orphaned(machine, monkeypatch):
    """A cache whose first writer died between its two puts."""
    with monkeypatch.context() as patch:
        patch.setattr("cache.objects.manifest_of_entries", dies)
        with pytest.raises(KeyboardInterrupt):
            CropStore(machine(), SPEC).commit(UNIT)


def test_a_writer_that_dies_between_its_puts_leaves_nothing_that_is_read(orphaned, machine):
    store = CropStore(machine(), SPEC)
    assert store.missing([source(0)]) == [source(0)]
    other = [photo(0, content=b"other" * 99), *UNIT[1:]]
    store.commit(other)
    assert CropStore(machine(), SPEC).read(source(0)) == b"other" * 99
    assert verify(machine()).damaged == ()


def test_what_a_dead_writer_left_is_garbage_once_it_is_old(orphaned, machine, monkeypatch):
    root = machine()
    store = CropStore(root, SPEC)
    store.commit([photo(4)])
    used = [store.fingerprint]
    assert find_garbage(root, used) == []
    monkeypatch.setattr("cache.garbage.ABANDONED_AFTER", -60)
    [left] = find_garbage(root, used)
    assert left.why == "abandoned" and left.place.endswith(".tar")
    delete_garbage(root, [left])
    assert find_garbage(machine(), used) == []
    assert CropStore(machine(), SPEC).read(source(4)) == crop(4)


def test_unused_fingerprints_are_deleted_from_the_object_store(machine):
    root = machine()
    CropStore(root, SPEC).commit(UNIT)
    CropStore(root, {"other": 1}).commit(UNIT)
    garbage = find_garbage(root, [CropStore(root, SPEC).fingerprint])
    assert [item.why for item in garbage] == ["unused"]
    delete_garbage(root, garbage)
    other = machine()
    assert CropStore(other, {"other": 1}).missing([source(0)]) == [source(0)]
    assert CropStore(other, SPEC).missing([source(0)]) == []


def damage(remote, name):
    """Change a byte of an object, without the cache's knowledge."""
    content = bytearray(remote._store.get(name).bytes())
    content[600] ^= 1  # in the first crop, or the first entry
    remote._store.put(name, bytes(content))


@pytest.mark.parametrize("suffix", [".tar", ".jsonl"])
def test_damage_in_the_object_store_is_found_and_repair_makes_room_for_the_unit_again(machine, suffix):
    root = machine()
    CropStore(root, SPEC).commit(UNIT)
    [name] = [obj.name for obj in remote_of(root).list(root) if obj.name.endswith(suffix)]
    damage(remote_of(root), name)
    other = machine()
    assert Path(name).name in {damage.file for damage in verify(other).damaged}
    if suffix == ".tar":
        with pytest.raises(CacheError, match="verify --repair"):
            [CropStore(machine(), SPEC).read(source(n)) for n in (0, 2)]
    verify(other, repair=True)
    again = CropStore(machine(), SPEC)
    assert again.missing(source(n) for n in range(3)) == sorted(source(n) for n in range(3))
    again.commit(UNIT)
    assert verify(machine()).damaged == ()


def test_damage_in_the_mirror_is_mended_by_reading_again(machine):
    root = machine()
    CropStore(root, SPEC).commit(UNIT)
    [tar] = root.glob("crops/*/units/??/*.tar")
    content = bytearray(tar.read_bytes())
    content[600] ^= 1
    tar.write_bytes(content)
    assert [CropStore(root, SPEC).read(source(n)) for n in (0, 2)] == [crop(0), crop(2)]
    assert verify(root).damaged == ()


def test_a_mirror_may_be_deleted_at_any_time(machine):
    root = machine()
    store = CropStore(root, SPEC)
    store.commit(UNIT)
    shutil.rmtree(store.folder)
    assert CropStore(root, SPEC).read(source(0)) == crop(0)


SHUFFLED = np.random.default_rng(1).permutation(40).tolist()


def test_training_brings_each_unit_once_and_holds_no_more_than_the_limit(machine, monkeypatch):
    writer = CropStore(machine(), SPEC)
    for first in range(0, 40, 4):
        writer.commit([photo(n) for n in range(first, first + 4)])
    monkeypatch.setenv("FACELINE_MIRROR_GB", "0.00004")  # four of the ten tar files
    root = machine()
    downloads = []
    pull = type(remote_of(root)).pull

    def counted(self, path):
        if path.suffix == ".tar" and not path.is_file():
            downloads.append(path)
        return pull(self, path)

    monkeypatch.setattr("cache.remote.Remote.pull", counted)
    sources = [source(n) for n in SHUFFLED]
    pixels = pack(CropStore(root, SPEC), sources, (1,), {}, lambda content, _: np.frombuffer(content[:1], np.uint8))
    assert [row[0] for row in pixels] == [crop(n)[0] for n in SHUFFLED]
    assert len(downloads) == len(set(downloads)) == 10
    assert sum(tar.stat().st_size for tar in root.glob("crops/*/units/??/*.tar")) <= 40_000


def test_what_was_found_is_kept_there_too(machine):
    FactStore(machine(), SPEC).commit([entry for entry, _ in UNIT[1:2]])
    assert FactStore(machine(), SPEC).entry(source(1)).facts == UNIT[1][0].facts


def test_a_newer_format_is_refused(machine):
    root = machine()
    remote_of(root).create(root / "CACHE.json", b'{"format": 99}')
    with pytest.raises(CacheError, match="newer faceline"):
        CropStore(root, SPEC)


def test_the_counts_are_those_of_the_object_store(machine):
    CropStore(machine(), SPEC).commit(UNIT)
    [counts] = stats(machine())["fingerprints"]
    assert (counts["units"], counts["ok"], counts["failed"]) == (1, 2, {"truncated": 1})


def test_a_url_is_a_cache_of_its_own_and_the_same_each_time(url, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder(url) == cache_folder(f"{url}/") != cache_folder(f"{url}/more")
    monkeypatch.setenv("FACELINE_CACHE", url)
    assert cache_folder() == cache_folder(url)


@pytest.mark.parametrize("url", ["s4://bucket/x", "nothing://"])
def test_a_url_that_nobody_knows_is_refused_and_leaves_nothing(url, tmp_path):
    with pytest.raises(CacheError, match="Supported are s3://"):
        mirror_of(url, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_object_store_that_cannot_be_reached_is_named(tmp_path, monkeypatch):
    for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "ALLOW_HTTP": "true"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("cache.remote.RETRY_S", 1)
    with pytest.raises(CacheError, match=r"s3://bucket/x can't be used: .*\n.*credentials"):
        CropStore(mirror_of("s3://bucket/x", tmp_path), SPEC)


@pytest.mark.parametrize("limit", ["many", "0", "-1"])
def test_a_limit_that_is_no_size_is_refused(limit, tmp_path, monkeypatch):
    monkeypatch.setenv("FACELINE_MIRROR_GB", limit)
    with pytest.raises(CacheError, match="give gigabytes"):
        CropStore(mirror_of(f"file://{tmp_path / 'objects'}", tmp_path), SPEC)
