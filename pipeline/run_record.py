"""The record of a run: config.yaml with its settings, run.json with its circumstances and its outcome.

A run folder belongs to one configuration: to continue it with another one is refused, and the error names the keys that
differ. Records that nothing is computed from (run.json, data.json, metrics.jsonl) never end a run: one that can't be
written is a warning.
"""

import importlib.metadata
import json
import math
import platform
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cache import atomic
from cache.errors import UsageError
from pipeline.settings import Settings, load_settings

PACKAGES = ("faceline", "torch", "torchvision", "timm", "facenet-pytorch", "opencv-python-headless", "albumentations",
            "numpy", "scikit-learn")  # fmt: skip
WITHOUT_EFFECT = {"train.trackers"}  # settings that no result depends on


@contextmanager
def recorded_run(
    run: Path,
    settings: Settings,
    *,
    data: Path,
    device: str,
    processes: int,
    seconds: Mapping[str, float],
    warn: Callable[[str], None],
) -> Generator[None]:
    """Write config.yaml, and run.json when the block starts and when it ends, then with the `seconds` of each stage.

    Args:
        run: its folder.
        settings: all of them.
        data: the data set's folder or table.
        device: as torch names it.
        processes: that train together.
        seconds: of each stage; filled while the block runs.
        warn: gets a message if run.json can't be written.

    Raises:
        UsageError: the folder holds a run with other settings.
    """
    refuse_other_settings(run, settings)
    config = run / "config.yaml"
    if not config.is_file():
        atomic.write_text(config, settings.as_yaml())
    record = {
        "command": sys.argv,
        "data": str(data.absolute()),
        "status": "started",
        "start": _now(),
        "end": None,
        "git": git_state(),
        "versions": versions(),
        "device": device,
        "processes": processes,
        "seeds": {"seed": settings.seed},
    }
    keep_json(run / "run.json", record, warn)
    status = "failed"
    try:
        yield
        status = "finished"
    except (KeyboardInterrupt, SystemExit):
        status = "stopped"
        raise
    finally:
        ended = {**record, "status": status, "end": _now(), "seconds": dict(seconds)}
        keep_json(run / "run.json", ended, warn)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an indented JSON file, completely or not at all."""
    atomic.write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def keep_json(path: Path, content: Mapping[str, Any], warn: Callable[[str], None]) -> None:
    """Write a record as indented JSON, whatever is in it; if it can't be written, call `warn` and go on."""
    _keep(path, json.dumps(_plain(content), indent=1, ensure_ascii=False) + "\n", warn)


def keep_json_lines(path: Path, lines: Iterable[Mapping[str, Any]], warn: Callable[[str], None]) -> None:
    """Write records as lines of JSON, whatever is in them; if they can't be written, call `warn` and go on."""
    _keep(path, "".join(json.dumps(_plain(line), ensure_ascii=False) + "\n" for line in lines), warn)


def _keep(path: Path, text: str, warn: Callable[[str], None]) -> None:
    try:
        atomic.write_text(path, text)
    except OSError as error:
        warn(f"{path} can't be written ({error.strerror or error}); the run goes on without it")


def _plain(value: Any) -> Any:
    """The value as JSON has it: without NaN, infinity and bytes that are no text; what JSON doesn't know is text."""
    match value:
        case None | bool() | int():
            return value
        case float():
            return float(value) if math.isfinite(value) else None
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case Mapping():
            return {str(_plain(str(key))): _plain(item) for key, item in value.items()}
        case Sequence() | set() | frozenset():
            return [_plain(item) for item in value]
        case _ if hasattr(value, "tolist"):  # numpy's arrays and numbers
            return _plain(value.tolist())
        case _:
            return _plain(str(value))


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that results depend on."""
    installed = {"python": platform.python_version()}
    for name in PACKAGES:
        # PackageNotFoundError is an ImportError; a package's metadata can also be unreadable, or lack the version.
        with suppress(ImportError, KeyError, ValueError, OSError):
            installed[name] = importlib.metadata.version(name)
    return installed


def git_state() -> dict[str, Any] | None:
    """The commit of the checkout that this code runs from, and whether files were changed since; None without one."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != here.parent:
            return None  # installed into somebody else's checkout
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, ValueError, subprocess.SubprocessError):  # ValueError: its output is not UTF-8
        return None


def refuse_other_settings(run: Path, settings: Settings) -> None:
    """Raise UsageError, naming the keys that differ, if the run folder exists and was made with other settings."""
    config = run / "config.yaml"
    if not config.exists():
        return
    try:
        # Read as settings: a key that is newer than the run has its default.
        before = dotted(load_settings(config).model_dump(mode="json"))
    except UsageError as error:
        raise UsageError(
            f"{error}\n{run} can't be continued with these settings; use another folder with --out"
        ) from None
    now = dotted(settings.model_dump(mode="json"))
    keys = sorted((before.keys() | now.keys()) - WITHOUT_EFFECT)
    differing = [key for key in keys if before.get(key) != now.get(key)]
    if differing:
        shown = "\n".join(f"  {key}: {before.get(key)!r} there, {now.get(key)!r} now" for key in differing[:8])
        more = f"\n  ... and {len(differing) - 8} more" if len(differing) > 8 else ""
        raise UsageError(
            f"{config.parent} holds a run with other settings; use another folder with --out.\n{shown}{more}"
        )


def dotted(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings: dotted key -> value."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat |= dotted(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
