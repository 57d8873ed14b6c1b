"""What a command says: progress, lines, tables, and the last word.

Progress and remarks go to stderr, results to stdout; with --json the last line on stdout is one JSON object and nothing
else is there. A bar on a terminal, a plain line now and then elsewhere.
"""

import json
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from classify.evaluation.metrics import Score

SECONDS_BETWEEN_LINES = 10.0


@dataclass(frozen=True)
class Console:
    """One command's output.

    Attributes:
        as_json: results are one JSON object on stdout.
        quiet: no progress and no remarks.
    """

    as_json: bool = False
    quiet: bool = False
    _err: RichConsole = field(default_factory=lambda: RichConsole(stderr=True, highlight=False, soft_wrap=True))
    _out: RichConsole = field(default_factory=lambda: RichConsole(highlight=False, soft_wrap=True))

    @classmethod
    def nothing(cls) -> Self:
        """The output of a process beside which another one speaks."""
        return cls(quiet=True, _err=RichConsole(quiet=True), _out=RichConsole(quiet=True))

    def line(self, text: str) -> None:
        """A remark about what is going on."""
        if not self.quiet:
            self._err.print(printable(text), markup=False)

    def warn(self, text: str) -> None:
        """Something the user should know of, also with --quiet."""
        self._err.print(f"warning: {printable(text)}", markup=False, style="yellow")

    def table(
        self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, remark: bool = False
    ) -> None:
        """A result, or a remark about what is going on. The first column is text, the others are numbers."""
        if remark and self.quiet:
            return
        table = Table(title=title, title_justify="left", title_style="bold")
        for number, name in enumerate(columns):
            table.add_column(printable(name), justify="right" if number else "left")
        for row in rows:
            table.add_row(*(printable(cell(value)) for value in row))
        (self._err if self.as_json or remark else self._out).print(table, markup=False)

    def scores(self, scores: "Mapping[str, Score]", title: str) -> None:
        """The table of some scores, when there are any."""
        rows = [[name, one.macro_f1, f"{one.low:.3f} to {one.high:.3f}", one.accuracy] for name, one in scores.items()]
        if rows:
            self.table(title, ["", "macro-F1", "95% interval", "accuracy"], rows)

    def done(self, result: Mapping[str, Any], *, text: str, next_step: str = "") -> None:
        """The last word: the result for people or machines, and the command to go on with."""
        if self.as_json:
            sys.stdout.write(json.dumps(result, allow_nan=False, default=str) + "\n")
            return
        self._out.print(printable(text), markup=False)
        if next_step and not self.quiet:
            self._out.print(f"Next: {printable(next_step)}", markup=False)

    @contextmanager
    def progress(self, label: str, total: int) -> Generator[Callable[[int], None]]:
        """A function that takes how many more are done."""
        if self.quiet or not total:
            yield lambda _: None
        elif self._err.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            with Progress(*columns, console=self._err, transient=True) as bar:
                progress = bar.add_task(label, total=total)
                yield lambda more: bar.advance(progress, more)
        else:
            yield _Lines(self, label, total).advance


class _Lines:
    """Progress where there is no terminal: a line when some seconds have passed."""

    def __init__(self, console: Console, label: str, total: int) -> None:
        self._console, self._label, self._total = console, label, total
        self._done, self._said = 0, time.monotonic()

    def advance(self, more: int) -> None:
        self._done += more
        if time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            self._console.line(f"{self._label}: {self._done:,} of {self._total:,}")


def cell(value: object) -> str:
    """A table cell: numbers with separators or three decimals."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def printable(text: str) -> str:
    """Text that is safe on any terminal: file names can hold escape codes and bytes that are no UTF-8."""
    shown = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in shown)
