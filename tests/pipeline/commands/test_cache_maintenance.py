import json
import os
import shutil

import polars as pl
import pytest

from cache.errors import UsageError
from tests.pipeline.conftest import faceline, tiny_options


def last(result):
    return json.loads(result.stdout.splitlines()[-1])


def test_stats_and_verify_count_what_a_run_left(finished):
    held = last(faceline("cache", "stats", "--cache", finished.cache, "--json"))
    assert sum(kind["ok"] for kind in held["fingerprints"]) >= 126
    result = last(faceline("cache", "verify", "--cache", finished.cache, "--json"))
    assert result["damaged"] == []
    assert "as they were written" in faceline("cache", "verify", "--cache", finished.cache).stdout
    assert "crops" in faceline("cache", "stats", "--cache", finished.cache).stdout


def test_stats_count_what_nobody_reads(finished, tmp_path):
    cache = shutil.copytree(finished.cache, tmp_path / "cache")
    assert last(faceline("cache", "stats", "--cache", cache, "--json"))["orphans"] == {"count": 0, "bytes": 0}
    orphan = next(cache.glob("crops/*/units/*")) / f"{'0' * 32}.0123456789ab.tar"
    orphan.write_bytes(b"left")
    os.utime(orphan, (0, 0))
    assert last(faceline("cache", "stats", "--cache", cache, "--json"))["orphans"] == {"count": 1, "bytes": 4}
    assert "1 orphan that" in faceline("cache", "stats", "--cache", cache).stdout


def test_a_damaged_crop_is_found_set_aside_and_made_again(finished, tmp_path):
    cache = shutil.copytree(finished.cache, tmp_path / "cache")
    crop = next(cache.rglob("*.jpg"))
    content = bytearray(crop.read_bytes())
    content[len(content) // 2] ^= 1
    crop.write_bytes(content)
    found = faceline("cache", "verify", "--cache", cache, ok=False)
    assert found.exit_code == 1
    assert "--repair" in found.stdout
    assert faceline("cache", "verify", "--repair", "--cache", cache, ok=False).exit_code == 1
    again = last(faceline("detect", finished.data, "--cache", cache, "--json"))
    assert again["detected"] == 0
    assert again["cut"] > 0
    assert again["unreadable"] == 0
    assert faceline("cache", "verify", "--cache", cache).exit_code == 0


def test_gc_lists_what_no_settings_need_and_deletes_only_on_request(finished, tmp_path):
    cache = shutil.copytree(finished.cache, tmp_path / "cache")
    faceline("detect", finished.data, "--cache", cache, "--set", "crop.margin=0.1")
    kept = ("--keep", finished.run, "--cache", cache, "--json")
    listed = last(faceline("cache", "gc", *kept))
    assert [entry["why"] for entry in listed["garbage"] if entry["place"].startswith("crops/")] == ["unused"]
    assert not any(entry["place"].startswith("detect/") for entry in listed["garbage"])
    assert last(faceline("cache", "gc", *kept)) == listed, "without --delete nothing changes"
    assert last(faceline("cache", "gc", "--delete", *kept))["deleted"]
    assert last(faceline("cache", "gc", "--keep", finished.run / "bundle", "--cache", cache, "--json"))["garbage"] == []
    assert last(faceline("detect", finished.data, "--cache", cache, "--json"))["cut"] == 0
    with pytest.raises(UsageError, match=r"--keep: .* is no run and no bundle"):
        faceline("cache", "gc", "--keep", tmp_path, "--cache", cache)


def test_photos_that_failed_are_tried_again_on_request(tmp_path):
    broken = tmp_path / "photos"
    broken.mkdir()
    (broken / "broken.jpg").write_text("no photo")
    words = ("detect", broken, "--cache", tmp_path / "cache", "--json")
    assert last(faceline(*words))["cut"] == 1
    assert last(faceline(*words))["cut"] == 0
    assert last(faceline(*words, "--retry-failed"))["cut"] == 1


def test_packs_that_were_made_before_are_what_training_reads(finished, tmp_path):
    cache = shutil.copytree(finished.cache, tmp_path / "cache")
    before = set((cache / "packs").iterdir())
    result = last(faceline("cache", "pack", finished.data, "--cache", cache, "--json", *tiny_options()))
    assert set((cache / "packs").iterdir()) == before, "training has packed the same"
    assert [pack["input"] for pack in result["packs"]] == [[32, 24]], "three tasks share one"
    assert result["packs"][0]["bytes"] == result["packs"][0]["rows"] * 32 * 24 * 3
    shutil.rmtree(cache / "packs")
    again = last(faceline("cache", "pack", finished.data, "--cache", cache, "--json", *tiny_options()))
    assert [pack["rows"] for pack in again["packs"]] == [pack["rows"] for pack in result["packs"]]
    made = {path.name for path in (cache / "packs").iterdir()}
    assert len(made) == 1
    assert made <= {path.name for path in before}, "other tests may have packed other sizes"
    turned = ("--set", "tasks.age.augment.every=[Rotate: {limit: [-20, 20]}]")
    words = ("--cache", cache, "--json", *tiny_options(), *turned)
    wide = last(faceline("cache", "pack", finished.data, *words))["packs"]
    assert [pack["margin"] for pack in wide] == [[0, 0], [4, 3]], "only age's pixels are turned"
    assert wide[1]["bytes"] == wide[1]["rows"] * 40 * 30 * 3


def test_a_cache_in_an_object_store_serves_the_whole_chain(some_data, tmp_path, monkeypatch):
    pytest.importorskip("obstore", reason="the extra `objects` is not installed")
    monkeypatch.setenv("FACELINE_CACHE", f"file://{tmp_path / 'objects'}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "first"))
    faceline("run", some_data, "--out", tmp_path / "run", *tiny_options())
    assert (tmp_path / "run" / "predictions.csv").is_file()
    assert {path.suffix for path in (tmp_path / "objects").rglob("*") if path.is_file()} == {".json", ".jsonl", ".tar"}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "second"))
    again = last(faceline("detect", some_data, "--json"))
    assert (again["detected"], again["cut"]) == (0, 0)
    result = last(faceline("cache", "verify", "--json"))
    assert result["damaged"] == [] and result["crops"] > 0
    assert last(faceline("cache", "stats", "--json"))["cache"] == f"file://{tmp_path / 'objects'}"


@pytest.mark.parametrize("form", ["folder", "webdataset"])
def test_crops_leave_with_their_labels_and_come_back(finished, tmp_path, form):
    words = ("cache", "export", finished.data, "--out", tmp_path / "out", "--format", form, "--json")
    result = last(faceline(*words, "--cache", finished.cache))
    assert result["crops"] >= 126
    if form == "folder":
        table = pl.read_csv(tmp_path / "out" / "labels.csv")
        assert table.columns[:2] == ["path", "person"] and len(table) == result["crops"]
        assert all((tmp_path / "out" / path).is_file() for path in table["path"])
        assert set(table["mask"].drop_nulls()) == {"wear", "incorrect", "normal"}
    back = last(faceline("cache", "import", tmp_path / "out", "--cache", tmp_path / "other", "--json"))
    assert 0 < back["new"] <= result["crops"]
    again = last(faceline("detect", finished.data, "--cache", tmp_path / "other", "--json"))
    assert again["cut"] == 0
    with pytest.raises(UsageError, match="--out"):
        faceline(*words, "--cache", finished.cache)


def test_another_cache_is_imported_and_anything_else_refused(finished, tmp_path):
    result = last(faceline("cache", "import", finished.cache, "--cache", tmp_path / "other", "--json"))
    assert result["new"] >= 126
    (tmp_path / "empty").mkdir()
    for wrong in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(UsageError, match="cache export"):
            faceline("cache", "import", wrong, "--cache", tmp_path / "other")
