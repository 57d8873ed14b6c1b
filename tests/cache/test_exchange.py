import io
import json
import tarfile
from dataclasses import replace

import pytest

from cache.errors import CacheError, UsageError
from cache.exchange import Outgoing, export_folder, export_shards, import_cache, import_export
from cache.store import CropStore, FactStore
from cache.verify import verify
from tests.cache.conftest import SPEC, crop, photo, source

GOOD = (0, 1, 2, 4, 5, 6)


def outgoing(store, numbers=GOOD):
    return [
        Outgoing(f"crops/p{n}/{n}.jpg", store.crop(source(n)), store.read(source(n)), {"labels": {"age": n}})
        for n in numbers
    ]


@pytest.fixture(params=[export_folder, export_shards])
def exported(request, filled, tmp_path):
    request.param(tmp_path / "out", SPEC, outgoing(CropStore(filled, SPEC)))
    return tmp_path / "out"


def test_what_is_exported_can_be_imported_elsewhere(exported, tmp_path):
    assert import_export(exported, tmp_path / "other") == len(GOOD)
    imported = CropStore(tmp_path / "other", SPEC)
    assert {n: imported.read(source(n)) for n in GOOD} == {n: crop(n) for n in GOOD}
    assert imported.entry(source(4)).facts == {"box": [4, 0.5]}
    assert verify(tmp_path / "other").damaged == ()


def test_an_import_twice_or_of_what_is_there_brings_nothing(exported, filled):
    before = sorted(filled.rglob("*"))
    assert import_export(exported, filled) == 0
    assert sorted(filled.rglob("*")) == before


def test_a_folder_has_the_crops_under_their_names_and_a_row_each(filled, tmp_path):
    assert export_folder(tmp_path / "out", SPEC, outgoing(CropStore(filled, SPEC))) == len(GOOD)
    assert (tmp_path / "out/crops/p4/4.jpg").read_bytes() == crop(4)
    rows = [json.loads(line) for line in (tmp_path / "out/crops.jsonl").read_text().splitlines()]
    assert [row["labels"]["age"] for row in rows] == list(GOOD)


def test_tar_files_hold_pairs_of_a_crop_and_its_labels(filled, tmp_path, monkeypatch):
    monkeypatch.setattr("cache.exchange.PER_SHARD", 4)
    export_shards(tmp_path / "out", SPEC, outgoing(CropStore(filled, SPEC)))
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["000000.tar", "000001.tar", "spec.json"]
    with tarfile.open(tmp_path / "out/000001.tar") as tar:
        assert tar.getnames() == ["00000004.jpg", "00000004.json", "00000005.jpg", "00000005.json"]
        assert tar.extractfile("00000004.jpg").read() == crop(5)
        assert json.load(tar.extractfile("00000004.json"))["labels"] == {"age": 5}
    assert import_export(tmp_path / "out", tmp_path / "other") == len(GOOD)


def test_nothing_is_written_over(filled, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="--out"):
        export_folder(tmp_path / "out", SPEC, outgoing(CropStore(filled, SPEC)))


def test_an_export_that_fails_leaves_nothing(filled, tmp_path):
    def fails():
        yield from outgoing(CropStore(filled, SPEC), (0,))
        raise CacheError("gone")

    for export in (export_folder, export_shards):
        with pytest.raises(CacheError):
            export(tmp_path / "out", SPEC, fails())
        assert [file.name for file in tmp_path.iterdir()] == ["cache"]


def test_a_changed_crop_is_not_taken_in(filled, tmp_path):
    export_folder(tmp_path / "out", SPEC, outgoing(CropStore(filled, SPEC)))
    (tmp_path / "out/crops/p4/4.jpg").write_bytes(b"other")
    with pytest.raises(CacheError, match=r"4\.jpg was changed"):
        import_export(tmp_path / "out", tmp_path / "other")


@pytest.mark.parametrize("file", ["../secret", "/etc/hostname", "crops/../../secret", "link"])
def test_a_row_that_reaches_out_of_the_folder_is_refused(filled, tmp_path, file):
    (tmp_path / "secret").write_bytes(crop(0))
    export_folder(tmp_path / "out", SPEC, outgoing(CropStore(filled, SPEC), (0,)))
    (tmp_path / "out/link").symlink_to(tmp_path / "secret")
    row = json.loads((tmp_path / "out/crops.jsonl").read_text())
    (tmp_path / "out/crops.jsonl").write_text(json.dumps({**row, "file": file}))
    with pytest.raises(CacheError, match="points outside the folder"):
        import_export(tmp_path / "out", tmp_path / "other")


@pytest.mark.parametrize("name", ["../00000000.jpg", "/00000000.jpg", "00000000.jpg/x", "run.sh"])
def test_a_tar_file_with_a_member_of_another_name_is_refused(filled, tmp_path, name):
    export_shards(tmp_path / "out", SPEC, outgoing(CropStore(filled, SPEC), (0,)))
    with tarfile.open(tmp_path / "out/000000.tar", "w") as tar:
        member = tarfile.TarInfo(name)
        member.size = 3
        tar.addfile(member, io.BytesIO(b"abc"))
    with pytest.raises(CacheError, match="unexpected member"):
        import_export(tmp_path / "out", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_tar_file_with_a_link_is_refused(filled, tmp_path):
    export_shards(tmp_path / "out", SPEC, outgoing(CropStore(filled, SPEC), (0,)))
    with tarfile.open(tmp_path / "out/000000.tar", "w") as tar:
        member = tarfile.TarInfo("00000000.jpg")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(CacheError, match="unexpected member"):
        import_export(tmp_path / "out", tmp_path / "other")


def test_another_cache_is_taken_in_unit_by_unit(filled, tmp_path):
    FactStore(filled, {"facts": 1}).commit([photo(8)[0]])
    CropStore(filled, SPEC).commit([photo(3)])  # it failed before
    other = tmp_path / "other"
    CropStore(other, SPEC).commit([photo(4), photo(9)])
    assert import_cache(filled, other) == 6
    imported = CropStore(other, SPEC)
    assert {n: imported.read(source(n)) for n in (*range(7), 9)} == {n: crop(n) for n in (*range(7), 9)}
    assert FactStore(other, {"facts": 1}).entry(source(8)) == photo(8)[0]
    assert verify(other).damaged == ()
    assert import_cache(filled, other) == 0


def test_failures_are_taken_in_too(filled, tmp_path):
    import_cache(filled, tmp_path / "other")
    assert CropStore(tmp_path / "other", SPEC).entry(source(3)) == replace(photo(3, outcome="truncated")[0])
