"""Recognise what faceline itself wrote into a data folder: it is never taken for data.

In: a folder or file. Out: what it is, or None. A folder is recognised by the files that no other program puts together,
a table by its name and its columns, and a picture by a mark in its first bytes.
"""

import csv
import struct
import zlib
from pathlib import Path

FOLDERS = (
    ({"CACHE.json"}, "crop cache"),
    ({"spec.json", "units"}, "crop cache"),
    ({"run.json", "config.yaml"}, "run"),
    ({"bundle.json"}, "bundle"),
    ({"votes.json"}, "ensemble"),
    ({"compare.json", "compare.md"}, "comparison"),
    ({"suspects.csv", "suspects.html"}, "list of doubtful labels"),
    ({"predictions.csv", "predictions.json"}, "predictions"),
    ({"spec.json", "crops.jsonl"}, "export of crops"),
)
BESIDE_A_CACHE = frozenset({"packs", "tmp", "quarantine", "networks"})  # its folders that have no mark of their own
TABLES = {  # name -> columns that are in it
    "predictions.csv": {"path", "status", "found_by"},
    "submission.csv": {"ImageID", "ans"},
    "validation.csv": {"path", "person", "source", "fold"},
    "folds.csv": {"path", "person", "fold"},
    "photos.csv": {"path", "source"},
    "groups.csv": {"group", "photos", "people", "accuracy"},
    "suspects.csv": {"task", "rank", "given", "suggested"},
    "tomek.csv": {"task", "link", "path", "remove"},
    "removals.csv": {"task", "path", "label", "note"},
}
MARK = b"faceline: not a photo"
MARK_WITHIN = 256  # bytes


def own_folder(folder: Path, names: set[str] | None = None) -> str | None:
    """What the folder is, if faceline wrote it; `names` are those in it, if they are known."""
    names = {path.name for path in folder.iterdir()} if names is None else names
    for marks, what in FOLDERS:
        if marks <= names:
            return what
    if folder.name in BESIDE_A_CACHE and (folder.parent / "CACHE.json").is_file():
        return "crop cache"
    return None


def is_own_table(path: Path) -> bool:
    """Whether faceline wrote the table: it has the name and the columns of one."""
    columns = TABLES.get(path.name)
    if columns is None:
        return False
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return columns <= set(next(csv.reader(file), []))
    except (OSError, UnicodeDecodeError, csv.Error):
        return False


def is_own_picture(path: Path) -> bool:
    """Whether the picture is a sheet that faceline made of photos."""
    try:
        with path.open("rb") as file:
            return MARK in file.read(MARK_WITHIN)
    except OSError:
        return False  # whoever reads the photo says why it can't be read


def marked(picture: bytes) -> bytes:
    """Put the mark into an encoded PNG or JPEG, as a comment that viewers pass over."""
    if picture.startswith(b"\x89PNG"):
        chunk = b"tEXt" + b"Comment\0" + MARK
        after_header = 33  # signature 8, header chunk 25
        mark = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        return picture[:after_header] + mark + picture[after_header:]
    after_start = 2
    return picture[:after_start] + b"\xff\xfe" + struct.pack(">H", len(MARK) + 2) + MARK + picture[after_start:]
