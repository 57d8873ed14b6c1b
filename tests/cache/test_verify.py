import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from cache.errors import CacheError
from cache.layout import FORMAT
from cache.pack import pack
from cache.store import CropStore
from cache.verify import stats, verify
from tests.cache.conftest import SPEC, crop, photo, source, unit_of

UNIT_OF_0 = {source(number) for number in range(4)}


def make_pack(root):
    pixels = pack(CropStore(root, SPEC), [source(0)], (4,), {}, lambda content, _: np.frombuffer(content[:4], np.uint8))
    assert pixels.shape == (1, 4)
    return next(root.glob("packs/*"))


def test_a_cache_as_it_was_written_has_no_damage(filled):
    make_pack(filled)
    report = verify(filled)
    assert (report.units, report.crops, report.damaged, report.repaired) == (2, 6, (), 0)


def test_no_cache_at_all_has_no_damage(tmp_path):
    assert verify(tmp_path / "nowhere", repair=True).units == 0
    assert not (tmp_path / "nowhere").exists()


def test_every_random_damage_is_found_with_its_unit_and_file(filled):
    chance = random.Random(2)
    files = sorted(path for path in filled.glob("crops/*/units/*/*/*"))
    for _ in range(100):
        file = chance.choice(files)
        content = file.read_bytes()
        offset = chance.randrange(len(content))
        flipped = content[:offset] + bytes([content[offset] ^ (1 << chance.randrange(8))]) + content[offset + 1 :]
        file.write_bytes(chance.choice([flipped, content[:offset], content + b"\n"]))
        [damage] = verify(filled).damaged
        assert (filled / damage.unit / damage.file) == file
        file.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "file"),
    [
        (lambda root: (unit_of(root, 0) / f"{source(0)[:16]}.jpg").unlink(), f"{source(0)[:16]}.jpg"),
        (lambda root: (unit_of(root, 0) / "manifest.jsonl").unlink(), "manifest.jsonl"),
        (lambda root: (unit_of(root, 0) / "extra.jpg").write_bytes(b"x"), "extra.jpg"),
        (lambda root: (unit_of(root, 0) / "extra").mkdir(), "extra"),
        (lambda root: (unit_of(root, 0).parent / "file").write_bytes(b"x"), "file"),
        (lambda root: (unit_of(root, 0).parent.parent / "file").write_bytes(b"x"), "file"),
        (lambda root: (root / "crops" / "file").write_bytes(b"x"), "spec.json"),
        (lambda root: (next(root.glob("crops/*")) / "file").write_bytes(b"x"), "file"),
        (lambda root: unit_of(root, 0).rename(unit_of(root, 4).parent / "moved"), "moved"),
        (
            lambda root: unit_of(root, 0).rename(unit_of(root, 0).with_name(unit_of(root, 0).name[:30])),
            "manifest.jsonl",
        ),
        (lambda root: next(root.glob("crops/*/spec.json")).unlink(), "spec.json"),
        (lambda root: next(root.glob("crops/*/spec.json")).write_text("{}"), "spec.json"),
        (lambda root: next(root.glob("crops/*/spec.json")).write_text("{"), "spec.json"),
        (lambda root: (root / "CACHE.json").unlink(), "CACHE.json"),
        (lambda root: (root / "CACHE.json").write_text("{"), "CACHE.json"),
        (lambda root: (make_pack(root) / "pixels.npy").write_bytes(b"x"), "pixels.npy"),
        (lambda root: (make_pack(root) / "pack.json").unlink(), "pixels.npy"),
    ],
)
def test_each_kind_of_damage_is_found_and_after_a_repair_there_is_none(filled, harm, file):
    harm(filled)
    [damage] = verify(filled).damaged
    assert damage.file == file
    assert damage.what
    assert verify(filled, repair=True).repaired == 1
    assert verify(filled).damaged == ()


def test_two_crops_that_changed_places_are_two_damages_of_one_unit(filled):
    first, second = (unit_of(filled, 0) / f"{source(number)[:16]}.jpg" for number in (0, 1))
    spare = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(spare)
    assert {damage.file for damage in verify(filled).damaged} == {first.name, second.name}
    assert verify(filled, repair=True).repaired == 1


def test_a_damaged_pack_is_found_by_a_process_that_has_read_it_before(filled):
    pixels = make_pack(filled) / "pixels.npy"
    state = pixels.stat()
    pixels.write_bytes(pixels.read_bytes()[:-1] + b"!")
    os.utime(pixels, ns=(state.st_atime_ns, state.st_mtime_ns))  # a disk that fails changes no time
    assert len(verify(filled).damaged) == 1


def test_repair_sets_the_unit_aside_and_its_photos_are_missing_again(filled):
    (unit_of(filled, 0) / f"{source(0)[:16]}.jpg").write_bytes(b"torn")
    verify(filled, repair=True)
    store = CropStore(filled, SPEC)
    assert set(store.missing(source(number) for number in range(7))) == UNIT_OF_0
    [quarantined] = (filled / "quarantine").iterdir()
    assert (quarantined / f"{source(0)[:16]}.jpg").read_bytes() == b"torn"
    store.commit([photo(0), photo(1), photo(2), photo(3, outcome="truncated")])
    assert store.read(source(0)) == crop(0)
    assert verify(filled).damaged == ()


def test_repair_of_a_stranger_in_a_unit_keeps_the_unit(filled):
    (unit_of(filled, 0) / "extra.jpg").write_bytes(b"x")
    verify(filled, repair=True)
    assert CropStore(filled, SPEC).read(source(0)) == crop(0)
    assert [path.read_bytes() for path in (filled / "quarantine").iterdir()] == [b"x"]


def test_the_same_unit_can_be_set_aside_twice(filled):
    for _ in range(2):
        (unit_of(filled, 4) / f"{source(5)[:16]}.jpg").unlink()
        verify(filled, repair=True)
        CropStore(filled, SPEC).commit([photo(4), photo(5), photo(6)])
    assert len(list((filled / "quarantine").iterdir())) == 2


def test_without_repair_nothing_is_moved(filled):
    (unit_of(filled, 0) / "manifest.jsonl").write_bytes(b"torn")
    before = sorted(filled.rglob("*"))
    verify(filled)
    assert sorted(filled.rglob("*")) == before


def test_files_that_file_managers_and_kills_leave_are_no_damage(filled):
    for folder in (filled / "crops", unit_of(filled, 0), unit_of(filled, 0).parent):
        (folder / ".DS_Store").write_bytes(b"x")
        (folder / "Thumbs.db").write_bytes(b"x")
    (next(filled.glob("crops/*/spec.json")).parent / ".spec.json.12345678").write_bytes(b"{")
    assert verify(filled).damaged == ()


def test_a_newer_cache_is_neither_checked_nor_repaired(filled):
    (filled / "CACHE.json").write_text(json.dumps({"format": FORMAT + 1}))
    for function in (verify, stats):
        with pytest.raises(CacheError, match="newer faceline"):
            function(filled)


def test_a_repair_that_cannot_write_is_one_clear_error(filled, monkeypatch):
    def refuse(*_args):
        raise PermissionError(13, "Permission denied")

    (unit_of(filled, 0) / "manifest.jsonl").write_bytes(b"torn")
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(CacheError, match="Permission denied"):
        verify(filled, repair=True)


def test_the_report_is_plain_json(filled):
    (unit_of(filled, 0) / "manifest.jsonl").write_bytes(b"torn")
    report = json.loads(json.dumps(verify(filled).as_json()))
    unit = unit_of(filled, 4)
    assert (report["units"], report["crops"], report["repaired"]) == (2, 3, 0)
    [damage] = report["damaged"]
    assert damage["file"] == "manifest.jsonl"
    assert damage["unit"].startswith(unit.parents[1].relative_to(filled).as_posix())


def test_stats_count_photos_outcomes_and_bytes_per_fingerprint(filled):
    CropStore(filled, {"other": 1}).commit([photo(8, content=b"12345")])
    CropStore(filled, SPEC).commit([photo(0), photo(9, outcome="truncated")])  # 0 is in two units: one photo
    by_fingerprint = {counts["fingerprint"]: counts for counts in stats(filled)["fingerprints"]}
    counts = by_fingerprint[CropStore(filled, SPEC).fingerprint[:16]]
    assert (counts["units"], counts["ok"], counts["failed"]) == (3, 6, {"truncated": 2})
    assert counts["bytes"] == 7 * len(crop(0))
    assert by_fingerprint[CropStore(filled, {"other": 1}).fingerprint[:16]]["bytes"] == 5


def test_stats_count_damaged_units_packs_stale_staging_and_quarantine(filled):
    make_pack(filled)
    (filled / "tmp" / "unit.host.1.x").mkdir(parents=True)
    (filled / "tmp" / "unit.host.1.x" / "crop.jpg").write_bytes(b"123")
    (unit_of(filled, 0) / "manifest.jsonl").write_bytes(b"torn")
    counts = stats(filled)
    assert counts["fingerprints"][0]["damaged_units"] == 1
    assert counts["packs"]["count"] == 1
    assert counts["staging"] == {"count": 1, "bytes": 3}
    verify(filled, repair=True)
    assert stats(filled)["quarantine"]["count"] == 1
    shutil.rmtree(filled)
    assert stats(filled)["fingerprints"] == []
