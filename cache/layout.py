"""Read and write the files that describe a cache: CACHE.json, and a spec.json per fingerprint.

They are written once, before the first unit. A cache in which they are damaged or newer than this version is refused.
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

FORMAT = 1
FORMAT_FILE = "CACHE.json"
SPEC_FILE = "spec.json"


def check_format(root: Path) -> None:
    """Refuse a cache that this version can't read.

    Raises:
        CacheError: CACHE.json is damaged or has a newer format, or the cache is not a folder.
    """
    if remote := remote_of(root):
        remote.pull(root / FORMAT_FILE)
    if wrong := format_damage(root):
        raise CacheError(damage_message(root, f"{root / FORMAT_FILE} {wrong}"))


def format_damage(root: Path) -> str:
    """Describe what is wrong with CACHE.json; empty if nothing. It may be missing before the first write.

    Raises:
        CacheError: it has a newer format, or the cache is not a folder.
    """
    try:
        content = json.loads((root / FORMAT_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except NotADirectoryError as error:
        raise CacheError(f"{root} is not a folder; name another cache with --cache DIR") from error
    except PermissionError as error:
        raise CacheError(f"the cache at {root} can't be read: {error.strerror}") from error
    except (OSError, ValueError) as error:
        return f"can't be read: {error}"
    version = content.get("format") if isinstance(content, dict) else None
    if not isinstance(version, int) or version < 1:
        return "does not name a format"
    if version > FORMAT:
        raise CacheError(
            f"the cache at {address(root)} was written by a newer faceline "
            f"(format {version}, this one reads {FORMAT}); upgrade faceline, or name another cache with --cache DIR"
        )
    return ""


def write_format(root: Path) -> None:
    """Write CACHE.json unless it exists."""
    write_once(root, root / FORMAT_FILE, canonical_json({"format": FORMAT, "uuid": uuid.uuid4().hex}) + "\n")


def write_spec(root: Path, folder: Path, spec: Mapping[str, Any]) -> None:
    """Write the spec.json of a folder unless it exists."""
    write_once(root, folder / SPEC_FILE, json.dumps(spec, indent=1, sort_keys=True) + "\n")


def write_once(root: Path, path: Path, text: str) -> None:
    """Write a small file unless it exists."""
    if path.is_file():
        return
    if remote := remote_of(root):
        remote.create(path, text.encode())
        remote.pull(path)
    else:
        atomic.make_folder(path.parent)
        atomic.write_text(path, text)


def spec_damage(folder: Path, expected: str) -> str:
    """Describe what is wrong with a folder's spec.json, whose fingerprint starts with `expected`; empty if nothing."""
    try:
        spec = json.loads((folder / SPEC_FILE).read_text(encoding="utf-8"))
        actual = fingerprint(spec)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return f"can't be read: {error}"
    return "" if actual.startswith(expected) else "was changed: its fingerprint is not the name of its folder"


def damage_message(root: Path, what: str) -> str:
    """Word an error: what is damaged and how to repair it."""
    command = f"faceline cache verify --repair --cache {shlex.quote(address(root))}"
    return f"the cache is damaged: {what}.\nRepair it with: {command}"


def unwritable_message(root: Path, error: OSError) -> str:
    """Word an error: why nothing can be written and what to do."""
    return (
        f"cannot write to the cache at {address(root)}: {error.strerror or error}.\n"
        "Free some space there or name another folder with --cache DIR. What was committed is kept: the same command "
        "continues from it."
    )
