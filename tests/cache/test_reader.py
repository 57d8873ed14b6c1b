"""A reader written from docs/reference/cache.md alone, without this project's code."""

import hashlib
import json
from pathlib import Path

from cache.store import CropStore, FactStore
from tests.cache.conftest import SPEC, photo, source


class Reader:
    """All entries of one folder CACHE/crops/FP or CACHE/detect/FP, and their crops."""

    def __init__(self, folder: Path):
        root = folder.parents[1]
        if json.loads((root / "CACHE.json").read_text())["format"] > 1:
            raise ValueError("the cache is newer than this reader")
        self.entries, self.crops = {}, {}
        for unit in sorted(folder.glob("units/??/*"), key=lambda path: path.name):
            if unit.suffix == ".tar":
                continue
            for row in self.rows(unit / "manifest.jsonl" if unit.is_dir() else unit):
                known = self.entries.get(row["source"])
                if known is None or (row["outcome"] == "ok" and known["outcome"] != "ok"):
                    self.entries[row["source"]] = row
                    self.crops[row["source"]] = (unit.parent if "offset" in row else unit) / row["file"]

    def rows(self, manifest):
        *lines, footer = manifest.read_bytes().splitlines(keepends=True)
        footer_fields = json.loads(footer)
        retry = f"retry {footer_fields['retry']}".encode() if "retry" in footer_fields else b""
        digest = hashlib.sha256(b"".join(lines) + retry).hexdigest()
        intact = footer_fields["sha256"] == digest and footer_fields["rows"] == len(lines)
        return [json.loads(line) for line in lines] if intact else []

    def crop(self, source):
        row, content = self.entries[source], self.crops[source].read_bytes()
        if "offset" in row:
            content = content[row["offset"] :][: row["size_bytes"]]
        if len(content) != row["size_bytes"] or hashlib.sha256(content).hexdigest() != row["sha256"]:
            raise ValueError(f"{self.crops[source]} is damaged")
        return content


def test_the_format_can_be_read_from_its_description(filled):
    store = CropStore(filled, SPEC)
    store.commit([photo(3)])  # it failed before
    facts = FactStore(filled, SPEC)
    facts.commit([photo(number)[0] for number in range(2)])
    reader = Reader(store.folder)
    assert reader.entries.keys() == store.entries().keys()
    for number in range(7):
        assert reader.entries[source(number)]["facts"] == store.entry(source(number)).facts
        assert reader.crop(source(number)) == store.read(source(number)) == photo(number)[1]
    assert Reader(facts.folder).entries.keys() == facts.entries().keys() == {source(0), source(1)}


def test_the_names_are_as_described(filled):
    store = CropStore(filled, SPEC)
    spec = json.dumps(SPEC, sort_keys=True, separators=(",", ":"))
    assert store.folder.name == hashlib.sha256(spec.encode()).hexdigest()[:16]
    members = "\n".join(sorted(source(number) for number in (4, 5, 6)))
    name = hashlib.sha256(members.encode()).hexdigest()[:32]
    assert (store.folder / "units" / name[:2] / name / "manifest.jsonl").is_file()
