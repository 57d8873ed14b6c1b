import errno
import hashlib
import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from cache.atomic import make_folder
from cache.names import unit_name
from cache.unit import UnitError, check_unit, read_crop, read_manifest, write_unit
from tests.cache.conftest import crop, photo, source

NAME = unit_name([source(0), source(1), source(2)])


@pytest.fixture
def unit(root):
    target = root / "crops" / "f" / "units" / NAME[:2] / NAME
    write_unit(target, root, [photo(0), photo(1, outcome="truncated"), photo(2)], ".jpg")
    return target


def sealed(rows):
    """A manifest with a right footer, whatever its rows."""
    body = "".join(json.dumps(row) + "\n" for row in rows).encode()
    footer = {"rows": len(rows), "sha256": hashlib.sha256(body).hexdigest()}
    return body + json.dumps(footer, separators=(",", ":")).encode() + b"\n"


def test_a_unit_comes_back_as_it_was_written(unit):
    first, failed, last = read_manifest(unit)
    assert (first.source, first.path, first.outcome, first.facts) == (
        source(0),
        "photos/0.jpg",
        "ok",
        {"box": [0, 0.5]},
    )
    assert (failed.outcome, failed.file) == ("truncated", "")
    assert [read_crop(unit, entry) for entry in (first, last)] == [crop(0), crop(2)]
    assert check_unit(unit) == ([first, failed, last], [])


def test_a_unit_holds_its_manifest_and_files_named_after_their_sources(unit):
    assert {path.name for path in unit.iterdir()} == {
        "manifest.jsonl",
        f"{source(0)[:16]}.jpg",
        f"{source(2)[:16]}.jpg",
    }


def test_the_manifest_ends_with_the_count_and_the_sha256_of_the_lines_above(unit):
    *lines, footer = (unit / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    assert json.loads(footer) == {"rows": 3, "sha256": hashlib.sha256(b"".join(lines)).hexdigest()}


def test_the_units_name_depends_on_its_members_and_not_on_their_order():
    assert unit_name([source(2), source(0), source(1)]) == NAME
    assert unit_name([source(0), source(1)]) != NAME
    assert len(NAME) == 32


def test_two_sources_that_share_sixteen_digits_keep_their_own_crops(root):
    items = [(replace(photo(number)[0], source="a" * 16 + f"{number:048x}"), crop(number)) for number in range(3)]
    write_unit(root / "unit", root, items, ".jpg")
    assert [read_crop(root / "unit", entry) for entry in read_manifest(root / "unit")] == [crop(0), crop(1), crop(2)]


def test_a_name_that_is_not_utf8_survives(root):
    odd = os.fsdecode(b"bad\xff\n.jpg")
    write_unit(root / "unit", root, [(replace(photo(0)[0], path=odd), crop(0))], ".jpg")
    assert read_manifest(root / "unit")[0].path == odd


def test_a_manifest_cut_off_anywhere_is_refused(unit):
    content = (unit / "manifest.jsonl").read_bytes()
    ends_of_lines = [offset for offset, byte in enumerate(content) if byte == ord("\n")]
    for length in {*range(0, len(content), 23), *ends_of_lines, *(offset + 1 for offset in ends_of_lines[:-1])}:
        (unit / "manifest.jsonl").write_bytes(content[:length])
        with pytest.raises(UnitError):
            read_manifest(unit)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "../../spec.json"}, "not the name of a crop"),
        ({"file": "/etc/passwd"}, "not the name of a crop"),
        ({"file": "c" * 16 + "\0"}, "not the name of a crop"),
        ({"file": ""}, "outcome 'ok'"),
        ({"file": 5}, "invalid line"),
        ({"surprise": 1}, "invalid line"),
    ],
    ids=str,
)
def test_a_sealed_manifest_with_a_line_that_makes_no_sense_is_refused(unit, change, message):
    row = json.loads((unit / "manifest.jsonl").read_text().splitlines()[0])
    (unit / "manifest.jsonl").write_bytes(sealed([{**row, **change}]))
    with pytest.raises(UnitError, match=message):
        read_manifest(unit)


def test_a_manifest_from_another_unit_is_seen(unit, root):
    other = root / "other"
    write_unit(other, root, [photo(0)], ".jpg")
    (unit / "manifest.jsonl").write_bytes((other / "manifest.jsonl").read_bytes())
    assert check_unit(unit) == ([], [("manifest.jsonl", "manifest.jsonl belongs to another unit")])


@pytest.mark.parametrize("harm", [Path.unlink, lambda p: p.write_bytes(b""), lambda p: p.write_bytes(crop(1))])
def test_a_crop_that_is_not_the_one_committed_is_refused(unit, harm):
    entry = read_manifest(unit)[0]
    harm(unit / entry.file)
    with pytest.raises(UnitError, match=entry.file):
        read_crop(unit, entry)
    assert [file for file, _ in check_unit(unit)[1]] == [entry.file]


def test_a_crop_of_another_size_than_its_manifest_says_is_refused(unit):
    with pytest.raises(UnitError, match="601"):
        read_crop(unit, replace(read_manifest(unit)[0], size_bytes=601))


def test_the_first_writer_wins_and_nothing_of_the_second_stays(unit, root):
    write_unit(unit, root, [photo(n, content=b"late") for n in (0, 1, 2)], ".jpg")
    assert read_crop(unit, read_manifest(unit)[0]) == crop(0)
    assert list((root / "tmp").iterdir()) == []


def test_of_writers_at_once_one_wins_whole(root):
    target, start = root / "units" / NAME, threading.Barrier(6)

    def write(writer):
        start.wait()
        write_unit(target, root, [photo(n, content=b"by %d" % writer) for n in (0, 1, 2)], ".jpg")

    writers = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    entries, damaged = check_unit(target)
    assert not damaged
    assert len({read_crop(target, entry) for entry in entries}) == 1


def test_a_rename_that_fails_after_it_was_done_counts_as_done(root, monkeypatch):
    rename = os.rename

    def twice(source_path, target_path):  # a network disk that repeats a request whose answer was lost
        rename(source_path, target_path)
        rename(source_path, target_path)

    monkeypatch.setattr(os, "rename", twice)
    write_unit(root / "unit", root, [photo(0)], ".jpg")
    [entry] = read_manifest(root / "unit")
    assert read_crop(root / "unit", entry) == crop(0)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="file names of handles are read from /proc")
def test_everything_is_synced_before_the_rename_shows_it_and_every_name_after(root, monkeypatch):
    done, fsync, rename, mkdir = [], os.fsync, os.rename, os.mkdir

    def note_sync(handle):
        fsync(handle)
        done.append(("sync", str(Path(f"/proc/self/fd/{handle}").readlink())))

    def note_rename(source_path, target_path):
        done.extend(("staged", str(path)) for path in [source_path, *source_path.iterdir()])
        rename(source_path, target_path)
        done.append(("name", str(target_path)))

    def note_mkdir(path, *mode):
        mkdir(path, *mode)
        done.append(("name", str(path)))

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "rename", note_rename)
    monkeypatch.setattr(os, "mkdir", note_mkdir)
    write_unit(root / "crops" / "ab" / "unit", root, [photo(0), photo(1)], ".jpg")

    staged = [(n, path) for n, (what, path) in enumerate(done) if what == "staged"]
    assert len(staged) == 4  # two crops, the manifest, the folder
    assert all(("sync", path) in done[:n] for n, path in staged)
    shown = [(n, Path(path)) for n, (what, path) in enumerate(done) if what == "name" and "/crops" in path]
    assert [path.name for _, path in shown] == ["crops", "ab", "unit"]
    assert all(("sync", str(path.parent)) in done[n:] for n, path in shown)


def test_an_error_at_any_sync_leaves_nothing_behind(root, monkeypatch):
    fsync, syncs = os.fsync, 0

    def fail(handle):
        nonlocal left, syncs
        left, syncs = left - 1, syncs + 1
        if left == 0:
            raise OSError(errno.EIO, "Input/output error")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", fail)
    left = -1
    write_unit(root / "clean", root, [photo(0), photo(1)], ".jpg")
    for number in range(1, syncs):  # all but the last, which comes after the rename
        left = number
        with pytest.raises(OSError, match="Input/output"):
            write_unit(root / "unit", root, [photo(0), photo(1)], ".jpg")
        assert not (root / "unit").exists()
        assert list((root / "tmp").iterdir()) == []


def test_folders_are_made_with_those_above_them(tmp_path):
    make_folder(tmp_path / "a" / "b" / "c")
    make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
