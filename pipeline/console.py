"""The output of a command: progress, remarks, tables and the final result.

Progress and remarks go to stderr, results to stdout. With --json, stdout has nothing but one JSON object, on its last
line. Progress is a bar on a terminal and an occasional plain line elsewhere.
"""

import json
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from classify.evaluation.metrics import Score

SECONDS_BETWEEN_LINES = 10.0


@dataclass(frozen=True)
class Console:
    """The output of one command."""

    as_json: bool = False  # print results as one JSON object on stdout
    quiet: bool = False  # print no progress and no remarks
    _err: RichConsole = field(default_factory=lambda: RichConsole(stderr=True, highlight=False, soft_wrap=True))
    _out: RichConsole = field(default_factory=lambda: RichConsole(highlight=False, soft_wrap=True))

    @classmethod
    def silent(cls) -> Self:
        """Make a console that prints nothing, for a process beside which another one prints."""
        return cls(quiet=True, _err=RichConsole(quiet=True), _out=RichConsole(quiet=True))

    def line(self, text: str) -> None:
        """Print a remark on progress."""
        if not self.quiet:
            self._err.print(printable(text), markup=False)

    def warn(self, text: str) -> None:
        """Print a warning, also with --quiet."""
        self._err.print(f"warning: {printable(text)}", markup=False, style="yellow")

    def table(
        self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, remark: bool = False
    ) -> None:
        """Print a table, as a result or as a remark. Columns of text are aligned to the left, figures to the right.

        With --json, a table is a remark: the JSON object has the same figures.
        """
        if self.quiet and (remark or self.as_json):
            return
        table = Table(title=title, title_justify="left", title_style="bold")
        for number, name in enumerate(columns):
            is_text = number == 0 or not any(str(row[number])[:1].isdigit() for row in rows)
            # fold: a long name goes on in the next line instead of being cut off
            table.add_column(printable(name), justify="left" if is_text else "right", overflow="fold")
        for row in rows:
            table.add_row(*(printable(cell(value)) for value in row))
        (self._err if self.as_json or remark else self._out).print(table, markup=False)

    def scores(self, scores: "Mapping[str, Score]", title: str, note: str = "") -> None:
        """Print a table of scores, and below it what to know about them, unless there are none."""
        rows: list[list[object]] = []
        for name, score in scores.items():
            rows.append([name, score.macro_f1, f"{score.low:.3f} to {score.high:.3f}", score.accuracy])
        if rows:
            self.table(title, ["", "macro-F1", "95% interval", "accuracy"], rows)
            if note and not self.quiet:
                (self._err if self.as_json else self._out).print(printable(f"Note: {note}."), markup=False)

    def done(self, result: Mapping[str, Any], *, text: str, next_step: str = "") -> None:
        """Print the final result, as text or as JSON, and after the text the command to continue with."""
        if self.as_json:
            sys.stdout.write(json.dumps(result, allow_nan=False, default=str) + "\n")
            return
        self._out.print(printable(text), markup=False)
        if next_step and not self.quiet:
            self._out.print(f"Next: {printable(next_step)}", markup=False)

    def flush(self) -> None:
        """Let a program that reads the output have what was printed so far."""
        sys.stdout.flush()
        self._out.file.flush()

    @contextmanager
    def progress(self, label: str, total: int) -> Generator[Callable[[float], None]]:
        """Show progress; the yielded function takes the number of items, or part of one, done since its last call."""
        if self.quiet or not total:
            yield lambda _: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with self.live(*columns) as bar:
            if bar is None:
                yield _Lines(self, label, total).advance
            else:
                progress = bar.add_task(label, total=total)
                yield lambda more: bar.advance(progress, more)

    @contextmanager
    def live(self, *columns: ProgressColumn, refresh_per_second: float = 10) -> Generator[Progress | None]:
        """Yield a bar of these columns while the block runs; None where there is no terminal, or with --quiet."""
        if self.quiet or not self._err.is_terminal:
            yield None
            return
        options: dict[str, Any] = {"transient": True, "refresh_per_second": refresh_per_second}
        with Progress(*columns, console=self._err, **options) as bar:
            yield bar


class _Lines:
    """Progress without a terminal: a line, at most once in SECONDS_BETWEEN_LINES."""

    def __init__(self, console: Console, label: str, total: int) -> None:
        self._console, self._label, self._total = console, label, total
        self._done, self._last_line_at = 0.0, time.monotonic()

    def advance(self, more: float) -> None:
        """Count `more` items as done."""
        self._done += more
        if time.monotonic() - self._last_line_at >= SECONDS_BETWEEN_LINES:
            self._last_line_at = time.monotonic()
            self._console.line(f"{self._label}: {round(self._done):,} of {self._total:,}")


def cell(value: object) -> str:
    """Format a table cell: integers with thousands separators, floats with three decimals."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def counted(number: int, thing: str, things: str = "") -> str:
    """Format a number of things: "1 photo", "2,000 photos"; `things` where the plural is not `thing` with an s."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def clock_time(seconds: float) -> str:
    """Format a time: 65 seconds are "1:05", and an hour more is "1:01:05"."""
    minutes, second = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes}:{second:02}"


def printable(text: str) -> str:
    """Escape what is unsafe on a terminal: file names can hold escape codes and bytes that are not UTF-8."""
    decodable = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in decodable)
