"""Crops on disk: content-addressed, written once, checked on every read.

bytes of a source file + what is done with them -> a crop that can be trusted. This room knows nothing about faces or
models: a crop is bytes, and what is known about it is a JSON object. Open `store.py` first.

    CACHE/CACHE.json                                  format version
    CACHE/detect/<fingerprint>/                       what was found in photos: spec.json, units of one manifest each
    CACHE/crops/<fingerprint>/spec.json               what the crops depend on, readable
    CACHE/crops/<fingerprint>/units/ab/<unit>/        up to 256 photos: manifest.jsonl and the crops
    CACHE/crops/<fingerprint>/units/ab/<unit>.jsonl   the same in an object store, beside a tar file with the crops
    CACHE/packs/<key>/                                derived arrays for training; delete at any time
    CACHE/tmp/                                        units being written
    CACHE/quarantine/                                 units that failed a check
"""

from cache.place import cache_folder

__all__ = ["cache_folder"]
