import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from cache.index import Index, ids_of, members
from cache.store import CropStore, FactStore
from cache.unit import OK, manifest_of_entries
from tests.cache.conftest import SPEC, photo, source


def units_of(root, kind="crops"):
    [folder] = (root / kind).iterdir()
    return folder / "units"


def write_lines(units, name, entries):
    """A unit without crops, under any name."""
    folder = units / name[:2] / name
    folder.mkdir(parents=True)
    (folder / "manifest.jsonl").write_bytes(manifest_of_entries(entries))
    return folder


def committed(number, outcome=OK):
    entry, _ = photo(number, outcome=outcome)
    return replace(entry, file="0" * 16, size_bytes=1, sha256="ab" * 32) if outcome == OK else entry


def test_members_are_read_without_parsing_and_by_parsing_with_the_same_result(tmp_path):
    quick = write_lines(tmp_path, "aa1", [committed(n) for n in range(5)])
    parsed = write_lines(tmp_path, "aa2", [*(committed(n) for n in range(4)), committed(4, "truncated")])
    ids, ok, _ = members(quick)
    assert np.array_equal(ids, ids_of([source(n) for n in range(5)])) and ok.all()
    ids, ok, _ = members(parsed)
    assert np.array_equal(ids, ids_of([source(n) for n in range(5)])) and ok.tolist() == [True] * 4 + [False]


def test_a_manifest_with_its_keys_in_another_order_is_read_too(tmp_path):
    unit = write_lines(tmp_path, "aa1", [committed(n) for n in range(3)])
    path = unit / "manifest.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()[:-1]]
    body = "".join(json.dumps(dict(reversed(line.items()))) + "\n" for line in lines).encode()
    footer = json.dumps({"rows": 3, "sha256": hashlib.sha256(body).hexdigest()}, separators=(",", ":")).encode()
    path.write_bytes(body + footer + b"\n")
    assert np.array_equal(members(unit)[0], ids_of([source(n) for n in range(3)]))


def test_a_photo_in_two_units_is_read_from_the_one_that_succeeded_else_from_the_smaller_name(tmp_path):
    failed = write_lines(tmp_path, "aa1", [committed(0, "truncated"), committed(1), committed(2, "truncated")])
    second = write_lines(tmp_path, "bb1", [committed(0), committed(1), committed(2, "truncated")])
    index = Index(tmp_path)
    assert [index.unit(source(n)) for n in range(4)] == [second, failed, failed, None]
    ids = ids_of([source(n) for n in range(4)])
    assert index.has(ids).tolist() == [True, True, True, False]
    assert index.has(ids, succeeded=True).tolist() == [True, True, False, False]


def test_ids_with_the_same_beginning_are_distinguished(tmp_path):
    begin, entry = "00" * 8, committed(0)
    entries = [replace(entry, source=begin + f"{n:048x}") for n in range(6)]
    units = [write_lines(tmp_path, name, entries[start::2]) for start, name in ((1, "aa1"), (0, "bb1"))]
    index = Index(tmp_path)
    assert [index.unit(entry.source) for entry in entries] == [units[(n + 1) % 2] for n in range(6)]
    assert index.has(ids_of([begin + f"{n:048x}" for n in range(8)])).tolist() == [True] * 6 + [False] * 2


def test_a_unit_that_is_added_counts_like_one_that_was_there(tmp_path):
    old = write_lines(tmp_path, "bb1", [committed(0), committed(1, "truncated")])
    index = Index(tmp_path)
    new = tmp_path / "aa" / "aa1"
    index.add(new, [committed(0, "truncated"), committed(1), committed(2, "truncated")])
    assert [index.unit(source(n)) for n in range(3)] == [old, new, new]
    assert index.has(ids_of([source(n) for n in range(4)])).tolist() == [True, True, True, False]
    assert list(index.sources()) == sorted(source(n) for n in range(3))


def test_a_damaged_unit_is_reported_and_its_photos_are_missing(filled):
    unit = next(units_of(filled).glob("??/*/manifest.jsonl"))
    unit.write_bytes(unit.read_bytes().replace(b"ok", b"no", 1))
    index = Index(units_of(filled))
    assert list(index.damaged) == [unit.parent]
    assert len(list(index.sources())) in {3, 4}


@pytest.mark.parametrize("root_exists", [True, False])
def test_nothing_is_an_index_too(tmp_path, root_exists):
    if root_exists:
        (tmp_path / "units").mkdir()
    index = Index(tmp_path / "units")
    assert index.unit(source(0)) is None and list(index.sources()) == []
    assert not index.has(ids_of([source(0)])).any() and index.has(ids_of([])).shape == (0,)


def test_a_plan_reads_no_manifest_twice_and_parses_none(tmp_path, monkeypatch):
    store = CropStore(tmp_path, SPEC)
    store.commit([photo(n) for n in range(9)])
    monkeypatch.setattr("cache.unit.json.loads", lambda *_: {"retry": 0})
    monkeypatch.setattr("cache.layout.check_format", lambda _: None)
    monkeypatch.setattr("cache.layout.spec_damage", lambda *_: "")
    opened = CropStore(tmp_path, SPEC)
    assert opened.missing(source(n) for n in range(11)) == sorted([source(9), source(10)])


def test_what_was_found_is_indexed_like_crops(tmp_path):
    store = FactStore(tmp_path, SPEC)
    store.commit([photo(0, outcome="truncated")[0], photo(1)[0]])
    assert FactStore(tmp_path, SPEC).missing([source(n) for n in range(3)]) == [source(2)]
    assert len(FactStore(tmp_path, SPEC).missing([source(n) for n in range(3)], retry=lambda _: True)) == 2
