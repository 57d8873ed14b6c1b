"""The files that say what a cache is: CACHE.json for the whole, spec.json for each kind of entries.

They are written once, before the first unit, and refused when they are damaged or newer than this version.
"""

import json
import shlex
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache import atomic
from cache.config import canonical_json, fingerprint
from cache.errors import CacheError
from cache.remote import address, remote_of
from cache.unit import make_folder

FORMAT = 1
FORMAT_FILE = "CACHE.json"
SPEC_FILE = "spec.json"


def check_format(root: Path) -> None:
    """Refuse a cache that this version does not understand.

    Raises:
        CacheError: CACHE.json is damaged or of a newer format, or the cache is no folder.
    """
    if remote := remote_of(root):
        remote.pull(root / FORMAT_FILE)
    if wrong := format_damage(root):
        raise CacheError(damage_sentence(root, f"{root / FORMAT_FILE} {wrong}"))


def format_damage(root: Path) -> str:
    """What is wrong with CACHE.json, or nothing. It is missing rightly until something is written.

    Raises:
        CacheError: it tells of a newer format, or the cache is no folder.
    """
    try:
        told = json.loads((root / FORMAT_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except NotADirectoryError as error:
        raise CacheError(f"{root} is no folder; name another cache with --cache DIR") from error
    except PermissionError as error:
        raise CacheError(f"the cache at {root} can't be read: {error.strerror}") from error
    except (OSError, ValueError) as error:
        return f"can't be read: {error}"
    version = told.get("format") if isinstance(told, dict) else None
    if not isinstance(version, int) or version < 1:
        return "does not tell the format"
    if version > FORMAT:
        raise CacheError(
            f"the cache at {address(root)} was written by a newer faceline "
            f"(format {version}, this one knows {FORMAT}); upgrade faceline, or name another cache with --cache DIR"
        )
    return ""


def write_format(root: Path) -> None:
    """Write CACHE.json where there is none."""
    write_once(root, root / FORMAT_FILE, canonical_json({"format": FORMAT, "uuid": uuid.uuid4().hex}) + "\n")


def write_spec(root: Path, folder: Path, spec: Mapping[str, Any]) -> None:
    """Write the spec.json of a folder where there is none."""
    write_once(root, folder / SPEC_FILE, json.dumps(spec, indent=1, sort_keys=True) + "\n")


def write_once(root: Path, path: Path, text: str) -> None:
    """Write a small file where there is none."""
    if path.is_file():
        return
    if remote := remote_of(root):
        remote.create(path, text.encode())
        remote.pull(path)
    else:
        make_folder(path.parent)
        atomic.write_text(path, text)


def spec_damage(folder: Path, wanted: str) -> str:
    """What is wrong with the spec.json in `folder`, or nothing; `wanted` is how its fingerprint must begin."""
    try:
        spec = json.loads((folder / SPEC_FILE).read_text(encoding="utf-8"))
        told = fingerprint(spec)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return f"can't be read: {error}"
    return "" if told.startswith(wanted) else "was changed: it is not what its folder is named after"


def damage_sentence(root: Path, what: str) -> str:
    """What is damaged and how to mend it."""
    mend = f"faceline cache verify --repair --cache {shlex.quote(address(root))}"
    return f"the cache is damaged: {what}.\nMend it with: {mend}"


def unwritable_sentence(root: Path, error: OSError) -> str:
    """Why nothing can be written and what to do."""
    return (
        f"cannot write to the cache at {address(root)}: {error.strerror or error}.\n"
        "Make room there or name another folder with --cache DIR. What was committed is kept: the same command goes on "
        "from it."
    )
