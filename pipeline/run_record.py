"""What a run leaves behind so that anybody can tell what was done: run.json, data.json, config.yaml.

A run folder belongs to one configuration: going on in it with another one is refused, with the keys that differ.
"""

import importlib.metadata
import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from cache import atomic
from cache.errors import UsageError
from pipeline.settings import Settings

PACKAGES = ("faceline", "torch", "torchvision", "timm", "facenet-pytorch", "opencv-python-headless", "albumentations",
            "numpy", "scikit-learn")  # fmt: skip


def start_run(run: Path, settings: Settings, *, device: str, processes: int = 1) -> dict[str, Any]:
    """Write config.yaml and a run.json with status "started"; returns the record to pass to `end_run`.

    Raises:
        UsageError: the folder holds a run with other settings.
    """
    refuse_other_settings(run, settings)
    config = run / "config.yaml"
    if not config.is_file():
        atomic.write_text(config, settings.as_yaml())
    record = {
        "command": sys.argv,
        "status": "started",
        "start": _now(),
        "end": None,
        "git": git_state(),
        "versions": versions(),
        "device": device,
        "processes": processes,
        "seeds": {"seed": settings.seed},
    }
    write_json(run / "run.json", record)
    return record


def end_run(run: Path, record: Mapping[str, Any], *, status: str, stages: Mapping[str, float]) -> None:
    """Complete run.json: how it ended and how long each stage took, in seconds."""
    write_json(run / "run.json", {**record, "status": status, "end": _now(), "seconds": dict(stages)})


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """A JSON file for people and machines, whole or not at all."""
    atomic.write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def versions() -> dict[str, str]:
    """Python and the packages that decide the numbers."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_state() -> dict[str, Any] | None:
    """The commit of the checkout that this code runs from, and whether it was changed; None when there is none."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != here.parent:
            return None  # installed into somebody else's checkout
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def refuse_other_settings(run: Path, settings: Settings) -> None:
    """Make sure that a run folder, when there is one already, was made with `settings`.

    Raises:
        UsageError: it was not; the message names the keys that differ.
    """
    config = run / "config.yaml"
    try:
        before = dotted(yaml.safe_load(config.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return
    except (OSError, ValueError, yaml.YAMLError, AttributeError) as error:
        raise UsageError(f"{config} can't be read ({error}); use another folder with --out") from None
    now = dotted(settings.model_dump(mode="json"))
    differing = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    if differing:
        told = "\n".join(f"  {key}: {before.get(key)!r} there, {now.get(key)!r} now" for key in differing[:8])
        more = f"\n  ... and {len(differing) - 8} more" if len(differing) > 8 else ""
        raise UsageError(
            f"{config.parent} holds a run with other settings; use another folder with --out.\n{told}{more}"
        )


def dotted(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested settings by their dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat |= dotted(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
