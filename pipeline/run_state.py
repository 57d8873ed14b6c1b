"""What a run folder holds, in whatever state the run is: finished, stopped, killed, or with damaged files.

In: a folder. Out: RunState, whose `problems` say what is damaged or missing; nothing raises.
"""

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

BUNDLE_JSON = Path("bundle", "bundle.json")
# Files that a run has and nothing else: config.yaml alone may be a user's.
MARKS = ("metrics.jsonl", "folds.csv", "bundle")
SHOWN = ("config.yaml", "data.json", "folds.csv", "metrics.jsonl", "validation.csv", "predictions.csv", "report.html")

Status = Literal["finished", "stopped", "failed", "unfinished", "damaged"]


@dataclass(frozen=True, slots=True)
class RunState:
    """What can be read of a run; a file that is missing or damaged is empty here."""

    folder: Path
    status: Status  # unfinished: it is running, or was killed
    record: Mapping[str, Any]  # run.json
    data: Mapping[str, Any]  # data.json
    class_counts: Sequence[Mapping[str, Any]]  # class_counts.jsonl
    epochs: Sequence[Mapping[str, Any]]  # metrics.jsonl
    bundle: Mapping[str, Any]  # bundle/bundle.json
    problems: tuple[str, ...]

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """The figures on held-out people by "joint" and task, as bundle.json has them; empty without any."""
        metrics = self.bundle.get("metrics")
        if not isinstance(metrics, dict):
            return {}
        return {
            name: {key: value for key, value in figures.items() if isinstance(value, int | float)}
            for name, figures in metrics.items()
            if isinstance(figures, dict)
        }

    @property
    def training_seconds(self) -> float:
        """The time of all epochs, over all starts of the run; run.json has only that of the last start."""
        seconds = (line.get("seconds") for line in self.epochs)
        return round(sum(value for value in seconds if isinstance(value, int | float)), 1)

    @property
    def command(self) -> str:
        """The command that started the run last; empty if that is not known."""
        words = self.record.get("command")
        if not isinstance(words, list) or not words:
            return ""
        program = "faceline" if Path(str(words[0])).stem in {"faceline", "__main__"} else str(words[0])
        return shlex.join([program, *map(str, words[1:])])

    def describe(self) -> str:
        """Say in a sentence or two what state the run is in, and what is there."""
        if self.status == "finished":
            return f"{self.folder} is a finished run"
        there = [name for name in SHOWN if (self.folder / name).is_file()]
        found = f"; there are {', '.join(there)}" if there else ""
        if self.status == "damaged":
            return f"{self.folder} is a damaged run: {'; '.join(self.problems)}{found}"
        how = {"stopped": "was stopped", "failed": "has failed", "unfinished": "is running or was killed"}[self.status]
        how = f"it {how} {self._progress()}" if self.epochs else f"it {how} before the first epoch ended"
        again = f". The same command goes on from there: {self.command}" if self.command else ""
        return f"{self.folder} is an unfinished run: {how}{found}{again}"

    def _progress(self) -> str:
        last = self.epochs[-1]
        return f"after epoch {last.get('epoch')} of {last.get('network') or last.get('task')}"


def is_run(folder: Path) -> bool:
    """Whether the folder holds a run, in any state."""
    return (folder / "run.json").is_file() or (
        (folder / "config.yaml").is_file() and any((folder / mark).exists() for mark in MARKS)
    )


def read_run(folder: Path) -> RunState:
    """Read what there is of a run; damaged files are named in `problems`."""
    problems: list[str] = []
    record = _read_object(folder / "run.json", problems)
    data = _read_object(folder / "data.json", problems)
    bundle = _read_object(folder / BUNDLE_JSON, problems)
    class_counts = _read_lines(folder / "class_counts.jsonl", problems)
    epochs = _read_lines(folder / "metrics.jsonl", problems)
    written = record.get("status")
    status: Status = "unfinished"
    if written == "finished" and not bundle and not problems:
        problems.append(f"run.json says that it is finished, but there is no {BUNDLE_JSON}")
    elif not (folder / "run.json").is_file():
        problems.append("run.json is missing")
    if problems:
        status = "damaged"
    elif written in ("finished", "stopped", "failed"):
        status = written
    return RunState(folder, status, record, data, class_counts, epochs, bundle, tuple(problems))


def find_runs(folder: Path) -> Iterator[Path]:
    """Yield the run folders in a folder at any depth, and the folder itself if it is one, in the order of their names.

    What is inside a run or a crop cache, hidden folders and links are left alone.
    """
    for place, folders, files in os.walk(folder):
        if is_run(Path(place)):
            yield Path(place)
            folders.clear()
        elif "CACHE.json" in files:
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))


def _read_object(path: Path, problems: list[str]) -> dict[str, Any]:
    """The object in a JSON file; empty if there is no file, or with a problem if it holds something else."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problems.append(f"{path.name} can't be read ({error})")
        return {}
    if not isinstance(content, dict):
        problems.append(f"{path.name} holds no JSON object")
        return {}
    return content


def _read_lines(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines: list[dict[str, Any]] = []
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            content = json.loads(line)
            if not isinstance(content, dict):
                raise ValueError(f"line {number} holds no JSON object")
            lines.append(content)
    except (OSError, ValueError) as error:
        problems.append(f"{path.name} can't be read ({error})")
    return lines
