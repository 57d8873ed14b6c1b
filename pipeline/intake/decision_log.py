"""Decisions about labels, in a file that is only added to and that is a table of corrections as it is.

In: decisions, one by one, from several pages or programs at once. Out: lines of JSON, one for each photo that a
decision is about; and of such a file, the decisions that stand.

A decision stands until a later one about the same label, or until a line undoes it. A line that was cut off, as by a
power cut, is passed over with a note.
"""

import json
import os
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from cache import atomic
from cache.errors import DataError
from pipeline.intake.table_file import read_table, row_location

Kind = Literal["keep", "fix", "drop", "unsure", "undo"]
CHANGING = ("fix", "drop")  # the decisions that change a label
KINDS = ("keep", *CHANGING, "unsure", "undo")
MARKS = ("decision", "entry")  # columns; tables that were written by hand do not have both
START = '{"decision"'  # of each line that is written here
Line = dict[str, str]  # decision, task, path, label, given, entry, time; of one that undoes another, its entry: undoes


@dataclass(frozen=True, slots=True)
class CorrectionRows:
    """The rows of a table of corrections that count."""

    columns: Sequence[str]
    rows: Sequence[tuple[int, Mapping[str, str | None]]]  # (index in the file from 0, the cells)
    notes: tuple[str, ...]  # what was passed over


class DecisionLog:
    """A file of decisions that this and other processes add to; it is made with the first one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: tuple[str, ...] = ()
        self._lines: list[Line] = []
        self._offset = 0  # what was read of the file
        self._lock = threading.Lock()
        if path.exists():
            rows = read_rows(path)
            if not _is_log(rows.columns):
                raise DataError(f"{path} holds no decisions of a review to add to; name another file")
            self.notes = rows.notes

    def lines(self, after: int = 0) -> list[Line]:
        """All lines but the first `after`, also those that others have added since."""
        with self._lock:
            self._read_new()
            return self._lines[after:]

    def standing(self) -> list[Mapping[str, str]]:
        """The lines of the decisions that stand."""
        return [line for _, line in standing(list(enumerate(self.lines())))]

    def append(self, kind: Kind, changes: Sequence[Line], undoes: str = "") -> str:
        """Add a decision and return its entry; when this returns, the decision is on the disk.

        Args:
            kind: what was decided.
            changes: task, path, label and given label of each photo.
            undoes: with `undo`, the entry of the decision that no longer stands.

        Raises:
            OSError: it can't be written; the file is as it was.
        """
        entry, time = secrets.token_hex(6), datetime.now(UTC).isoformat(timespec="seconds")
        rest = {"entry": entry, "time": time} | ({"undoes": undoes} if undoes else {})
        lines = [json.dumps({"decision": kind, **change, **rest}, ensure_ascii=False) for change in changes]
        with self._lock:
            _append(self.path, "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
        return entry

    def _read_new(self) -> None:
        if not self.path.exists():  # nothing was decided yet, or somebody has removed it
            self._lines, self._offset = [], 0
            return
        with self.path.open("rb") as file:
            if file.seek(0, os.SEEK_END) < self._offset:  # somebody has shortened it
                self._lines, self._offset = [], 0
            file.seek(self._offset)
            content = file.read()
        complete = content[: content.rfind(b"\n") + 1]
        self._offset += len(complete)
        self._lines += [line for _, line in _parse(complete)[0] if line.get("decision") in KINDS]


def standing(rows: Sequence[tuple[int, Mapping[str, Any]]]) -> list[tuple[int, Mapping[str, Any]]]:
    """The rows of decisions that stand: of each label the last that is not undone."""
    undone = {row.get("undoes") for _, row in rows if row.get("decision") == "undo"}
    last: dict[tuple[Any, ...], tuple[int, Mapping[str, Any]]] = {}
    for index, row in rows:
        if row.get("decision") != "undo" and not (row.get("entry") and row.get("entry") in undone):
            last[tuple(row.get(name) for name in ("task", "path", "person", "id", "photo"))] = (index, row)
    return list(last.values())


def read_rows(path: Path) -> CorrectionRows:
    """Read a table of corrections; of decisions, only the rows that change a label are left.

    Raises:
        UsageError: there is no such file.
        DataError: it can't be read, or holds a decision that there is not.
    """
    notes: list[str] = []
    if path.suffix.lower() == ".jsonl" and (found := _read_log(path)) is not None:
        rows, wrong = found
        columns = list(dict.fromkeys(name for _, row in rows for name in row)) or [*MARKS, "task", "path", "label"]
        notes = [f"{row_location(path, index)} is incomplete and was passed over" for index in wrong]
    else:
        table = read_table(path)
        columns, rows = table.columns, list(enumerate(table.iter_rows(named=True)))
    if not _is_log(columns):
        return CorrectionRows(columns, rows, tuple(notes))
    counting: list[tuple[int, Mapping[str, str | None]]] = []
    for index, row in standing(rows):
        # A row that somebody has added by hand may do without the word.
        kind = row.get("decision") or ("fix" if row.get("label") else "drop")
        if kind not in KINDS or (kind == "fix" and not row.get("label")):
            what = "a fix without a label" if kind == "fix" else f"{kind!r}, which is none of {', '.join(KINDS)}"
            raise DataError(f"{row_location(path, index)}: the decision is {what}.\nNothing was changed.")
        if kind in CHANGING and any(row.values()):
            cells = {name: row.get(name) for name in columns}
            counting.append((index, {**cells, "label": row.get("label") if kind == "fix" else ""}))
    return CorrectionRows(columns, counting, tuple(notes))


def _is_log(columns: Iterable[str]) -> bool:
    return set(MARKS) <= set(columns)


def _read_log(path: Path) -> tuple[list[tuple[int, Line]], list[int]] | None:
    """The lines of a file of decisions, and the indices of those that can't be read; None if it is another table."""
    try:
        content = path.read_bytes()
    except OSError:
        return None  # read_table says what is wrong
    rows, wrong = _parse(content)
    is_log = any(_is_log(line) for _, line in rows)
    torn = content.decode("utf-8", "replace")
    return (rows, wrong) if is_log or (not rows and torn and START.startswith(torn[: len(START)])) else None


def _parse(content: bytes) -> tuple[list[tuple[int, Line]], list[int]]:
    """The JSON objects among the lines with their indices, and the indices of what is none; blank lines are neither."""
    rows: list[tuple[int, Line]] = []
    wrong: list[int] = []
    for index, text in enumerate(content.split(b"\n")):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
            rows.append((index, {key: "" if value is None else str(value) for key, value in line.items()}))
        except (ValueError, AttributeError, RecursionError):
            wrong.append(index)
    return rows, wrong


def _append(path: Path, content: bytes) -> None:
    """Add lines to the end of a file and sync it; of two processes at once, one waits for the other."""
    is_new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b", buffering=0) as file:
        atomic.lock(file)
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":  # a line that was cut off must not swallow this one
                content = b"\n" + content
        try:
            written = file.write(content)
            if written != len(content):
                raise OSError(f"only {written} of {len(content)} bytes were written")
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise
    if is_new:
        atomic.sync_folder(path.parent)
