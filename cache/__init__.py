"""Crops on disk: content-addressed, written once, checked on every read.

In: crops as bytes, each with the id of its source photo and a JSON object of facts. Out: the same bytes, verified
against their sha256. Nothing here knows about faces or models. Open `store.py` first.

    CACHE/CACHE.json                                  format version
    CACHE/detect/<fingerprint>/                       facts about photos: spec.json, units of one manifest each
    CACHE/crops/<fingerprint>/spec.json               everything that the crops depend on
    CACHE/crops/<fingerprint>/units/ab/<unit>/        up to 256 photos: manifest.jsonl and the crops
    CACHE/crops/<fingerprint>/units/ab/<unit>.jsonl   the same in an object store, next to a tar file with the crops
    CACHE/packs/<key>/                                derived arrays for training; safe to delete
    CACHE/tmp/                                        units being written
    CACHE/quarantine/                                 units that failed a check
"""

from cache.location import cache_folder

__all__ = ["cache_folder"]
