import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cache.errors import CacheError
from cache.layout import FORMAT
from cache.store import UNIT_SIZE, CropStore
from cache.unit import read_manifest
from cache.verify import verify
from tests.cache.conftest import SPEC, crop, photo, source, unit_of

REPAIR = "faceline cache verify --repair"


def test_what_was_committed_is_there_for_the_next_run(filled):
    store = CropStore(filled, SPEC)
    assert set(store.entries()) == {source(number) for number in range(7)}
    assert store.read(source(5)) == crop(5)
    assert store.entry(source(3)).outcome == "truncated"
    assert store.entry(source(9)) is None


def test_missing_is_what_was_wanted_less_what_has_an_entry_failures_included(filled):
    requested = [source(number) for number in (8, 3, 7, 0, 8)]
    assert CropStore(filled, SPEC).missing(requested) == sorted([source(7), source(8)])


def test_a_commit_is_seen_by_the_store_that_made_it(root):
    store = CropStore(root, SPEC)
    assert store.missing([source(0)]) == [source(0)]
    store.commit([photo(0)])
    assert store.missing([source(0)]) == []
    assert store.read(source(0)) == crop(0)


def test_another_spec_is_another_store(filled):
    other = CropStore(filled, {**SPEC, "crop": {"height": 9}})
    assert other.missing([source(0)]) == [source(0)]
    other.commit([photo(0, content=b"nine high")])
    assert other.read(source(0)) == b"nine high"
    assert CropStore(filled, SPEC).read(source(0)) == crop(0)


def test_the_layout_is_the_documented_one(filled):
    store = CropStore(filled, SPEC)
    folder = filled / "crops" / store.fingerprint[:16]
    assert json.loads((folder / "spec.json").read_text()) == SPEC
    assert json.loads((filled / "CACHE.json").read_text())["format"] == FORMAT
    unit = unit_of(filled, 0)
    assert unit.parent == folder / "units" / unit.name[:2]
    assert (unit / f"{source(0)[:16]}.jpg").read_bytes() == crop(0)


def test_opening_and_reading_write_nothing(filled, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    store = CropStore(filled, SPEC)
    store.read(source(0))
    store.missing([source(8)])
    CropStore(tmp_path / "nowhere", SPEC).entries()
    CropStore(filled, {"other": 1}).entries()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_the_first_of_two_writers_wins(root):
    first, second = CropStore(root, SPEC), CropStore(root, SPEC)
    assert first.missing([source(0)]) == second.missing([source(0)])
    first.commit([photo(0)])
    second.commit([photo(0, content=b"late")])
    assert second.read(source(0)) == crop(0)
    assert verify(root).damaged == ()


def test_a_photo_in_two_units_is_read_from_the_one_with_the_smaller_name(root):
    names = {CropStore(root, SPEC).commit([photo(0, content=b"%d" % n), photo(n)]): b"%d" % n for n in range(1, 6)}
    assert CropStore(root, SPEC).read(source(0)) == names[min(names)]
    one_process = CropStore(root / "again", SPEC)
    names = {one_process.commit([photo(0, content=b"%d" % n), photo(n)]): b"%d" % n for n in range(1, 6)}
    assert one_process.read(source(0)) == names[min(names)]


@pytest.mark.parametrize(
    "items",
    [
        [],
        [photo(0), photo(0)],
        [(photo(0)[0], None)],
        [(photo(0, outcome="truncated")[0], b"x")],
        [photo(number) for number in range(UNIT_SIZE + 1)],
    ],
)
def test_a_unit_that_makes_no_sense_is_refused_before_anything_is_written(root, items):
    with pytest.raises(ValueError, match="entr"):
        CropStore(root, SPEC).commit(items)
    assert not root.exists()


@pytest.mark.parametrize("harm", [Path.unlink, lambda p: p.write_bytes(p.read_bytes()[:-1] + b"x")])
def test_a_crop_that_is_missing_or_changed_names_its_unit_its_file_and_the_repair(filled, harm):
    unit = unit_of(filled, 0)
    harm(unit / f"{source(0)[:16]}.jpg")
    with pytest.raises(CacheError, match=REPAIR) as raised:
        CropStore(filled, SPEC).read(source(0))
    assert unit.name in str(raised.value)
    assert f"{source(0)[:16]}.jpg" in str(raised.value)


def test_a_photo_without_a_crop_says_why(filled):
    store = CropStore(filled, SPEC)
    with pytest.raises(CacheError, match="truncated"):
        store.read(source(3))
    with pytest.raises(CacheError, match="faceline detect"):
        store.read(source(8))


def test_a_unit_with_a_torn_manifest_is_ignored_and_listed(filled):
    unit = unit_of(filled, 0)
    with (unit / "manifest.jsonl").open("r+b") as manifest:
        manifest.truncate(200)
    store = CropStore(filled, SPEC)
    assert store.missing([source(number) for number in range(7)]) == sorted(source(number) for number in range(4))
    assert list(store.damaged) == [unit]


@pytest.mark.parametrize("file", ["manifest.jsonl", f"{source(0)[:16]}.jpg"])
def test_a_commit_over_a_damaged_unit_names_the_repair(filled, file):
    (unit_of(filled, 0) / file).write_bytes(b"torn")
    with pytest.raises(CacheError, match=REPAIR):
        CropStore(filled, SPEC).commit([photo(0), photo(1), photo(2), photo(3, outcome="truncated")])


def test_a_cache_of_a_newer_format_is_refused(filled):
    (filled / "CACHE.json").write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(CacheError, match="newer faceline"):
        CropStore(filled, SPEC)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "1"}', '{"format": 0}', "\0"])
def test_a_damaged_format_file_is_refused(filled, content):
    (filled / "CACHE.json").write_text(content)
    with pytest.raises(CacheError, match=REPAIR):
        CropStore(filled, SPEC)


@pytest.mark.parametrize("content", ["", "{}", '{"crop": {"height": 9}, "detector": "none"}'])
def test_a_spec_that_is_not_what_its_folder_is_named_after_is_refused(filled, content):
    [spec] = filled.glob("crops/*/spec.json")
    spec.write_text(content)
    with pytest.raises(CacheError, match=REPAIR):
        CropStore(filled, SPEC)


def test_a_file_in_place_of_the_cache_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CacheError, match="--cache DIR"):
        CropStore(tmp_path / "file", SPEC)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EMFILE])
def test_a_disk_that_fails_is_one_clear_error_and_the_same_command_goes_on(filled, monkeypatch, number):
    def fail(handle):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(CacheError, match=os.strerror(number)) as raised:
            CropStore(filled, SPEC).commit([photo(7)])
    assert str(filled) in str(raised.value)
    assert "--cache DIR" in str(raised.value)
    assert list((filled / "tmp").iterdir()) == []
    store = CropStore(filled, SPEC)
    assert store.missing(source(n) for n in range(8)) == [source(7)]
    store.commit([photo(7)])
    assert verify(filled).damaged == ()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 160 KB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if not mount or subprocess.run([mount, "-t", "tmpfs", "-o", "size=160k", "none", disk], check=False).returncode:
        pytest.skip("a small disk can't be mounted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_keeps_what_was_committed_and_the_rerun_completes(small_disk):
    units = [[photo(n, content=crop(n, 5000)) for n in range(first, first + 4)] for first in range(0, 40, 4)]
    store = CropStore(small_disk / "cache", SPEC)
    with pytest.raises(CacheError, match="No space left"):
        for unit in units:
            store.commit(unit)
    kept = len(CropStore(small_disk / "cache", SPEC).entries())
    assert 4 <= kept < 40
    assert kept % 4 == 0
    assert verify(small_disk / "cache").damaged == ()

    subprocess.run(["mount", "-o", "remount,size=2m", small_disk], check=True)
    rerun = CropStore(small_disk / "cache", SPEC)
    for unit in units:
        if rerun.missing(entry.source for entry, _ in unit):
            rerun.commit(unit)
    assert len(CropStore(small_disk / "cache", SPEC).entries()) == 40
    assert verify(small_disk / "cache").damaged == ()


# Kills itself before the N-th system call that changes the disk, for all N, each time on another cache.
KILLED = """
import itertools, os, signal, sys
from pathlib import Path
from cache.store import CropStore
from tests.cache.conftest import SPEC, photo

calls = ["fsync", "rename", "replace", "mkdir"]
for number in itertools.count(1):
    child = os.fork()
    if child == 0:
        counted = itertools.count(1)
        def dying(call):
            def run(*args, **more):
                if next(counted) == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **more)
            return run
        for name in calls:
            setattr(os, name, dying(getattr(os, name)))
        store = CropStore(Path(sys.argv[1]) / str(number), SPEC)
        store.commit([photo(0), photo(1, outcome="truncated"), photo(2)])
        store.commit([photo(3)])
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are tried in forks")
def test_a_kill_at_any_step_of_a_commit_leaves_whole_units_and_the_next_run_completes(tmp_path):
    here = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=True, cwd=here, timeout=60)
    caches = sorted(tmp_path.iterdir(), key=lambda path: int(path.name))
    left = []
    for root in caches:
        store = CropStore(root, SPEC)
        left.append(len(store.entries()))
        assert verify(root).damaged == ()
        for unit in ([photo(0), photo(1, outcome="truncated"), photo(2)], [photo(3)]):
            if store.missing(entry.source for entry, _ in unit):
                store.commit(unit)
        report = verify(root)
        assert (report.units, report.crops, report.damaged) == (2, 3, ())
        assert store.read(source(0)) == crop(0)
    assert len(caches) > 20
    assert left == sorted(left)
    assert set(left) == {0, 3, 4}


def test_loading_does_not_read_any_crop(filled):
    for file in filled.glob("crops/*/units/*/*/*.jpg"):
        file.unlink()
    assert len(CropStore(filled, SPEC).entries()) == 7
    assert len(read_manifest(unit_of(filled, 4))) == 3


def test_a_failure_that_replaces_another_one_is_the_one_that_is_read(root):
    for number, outcome in enumerate(["missing", "truncated", "empty_file"]):
        # Other members each time, so that the order of the units' names can't be what decides.
        CropStore(root, SPEC).commit([photo(0, outcome=outcome), photo(10 + number)])
        assert CropStore(root, SPEC).entry(source(0)).outcome == outcome
    store = CropStore(root, SPEC)
    store.commit([photo(0, outcome="not_an_image")])
    assert store.entry(source(0)).outcome == "not_an_image", "nor the time when a store was opened"
    assert store.missing([source(0)], retry=lambda entry: entry.outcome == "empty_file") == []
    assert store.missing([source(0)], retry=lambda entry: entry.outcome == "not_an_image") == [source(0)]
    store.commit([photo(0)])
    assert store.entry(source(0)).outcome == CropStore(root, SPEC).entry(source(0)).outcome == "ok"
    assert verify(root).damaged == ()


def test_a_failure_that_failed_again_in_the_same_way_is_not_written_again(root):
    for _ in range(2):
        CropStore(root, SPEC).commit([photo(0, outcome="truncated")])
    assert len(list(root.glob("crops/*/units/*/*"))) == 1
