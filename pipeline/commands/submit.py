"""`faceline submit`: the ledger of what was handed in, and how it scored."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cache.errors import BundleError, UsageError
from cache.location import with_home
from pipeline.commands.options import SharedOptions, with_shared_options
from pipeline.console import counted
from pipeline.ledger import LEDGER, Ledger, Submission, rank_correlation, read_ledger, record_submission


def _folder(path: Path | None) -> Path | None:
    if path is not None and not with_home(path).is_dir():
        raise BundleError(f"there is no folder {path}")
    return path


@with_shared_options("json", "quiet")
def submit(
    shared: SharedOptions,
    run: Annotated[
        Path | None,
        typer.Argument(metavar="RUN", help="A run, or a folder of `vote` or `predict`.", callback=_folder),
    ] = None,
    public: Annotated[float | None, typer.Option("--public", help="Score on the public leaderboard, 0 to 1.")] = None,
    private: Annotated[
        float | None, typer.Option("--private", help="Score on the private leaderboard, 0 to 1.")
    ] = None,
    note: Annotated[str, typer.Option("--note", help="What to remember about it.")] = "",
    file: Annotated[
        Path | None, typer.Option("--file", help="What was handed in; RUN/submission.csv by default.")
    ] = None,
    ledger: Annotated[Path, typer.Option("--ledger", help="The ledger's file.")] = LEDGER,
    listed: Annotated[bool, typer.Option("--list", help="Show all submissions and their scores.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Check that no line was changed since.")] = False,
) -> None:
    """Record a submission and its scores in a ledger that is only added to, or show the ledger."""
    if (run is None) != (listed or verify):
        raise UsageError("name the run whose submission you have handed in, or show all of them with --list")
    console = shared.context().console
    if run is not None:
        line, warnings = record_submission(run, ledger, file=file, public=public, private=private, note=note)
        for warning in warnings:
            console.warn(warning)
        text = f"Line {line.number} of {ledger}: {line.file}\nHash: {line.hash}"
        console.done(line.as_json(), text=text, next_step=shared.next_command("submit", "--list", carry=()))
        return

    book = read_ledger(ledger)
    correlations = {
        name: _correlation(book, get)
        for name, get in (("public", lambda line: line.public), ("private", lambda line: line.private))
    }
    if book.submissions and listed:
        columns = ["", "time", "run", "validation", "public", "private", "note"]
        rows: list[list[object]] = [
            [line.number, line.time, line.run, line.validation.get("joint"), line.public, line.private, line.note]
            for line in book.by_file()
        ]
        console.table(f"Submissions in {ledger}", columns, rows)
    for problem in book.problems:
        console.warn(problem)
    count = len(book.submissions)
    parts = [f"{counted(count, 'line')} in {ledger}."]
    parts += [
        f"Rank correlation of validation and {name} score: {value:.2f}."
        for name, value in correlations.items()
        if value is not None
    ]
    if verify:
        parts.append(
            "Damaged." if book.problems else f"All lines are as they were written; last hash {book.last_hash}."
        )
    result = {
        "ledger": str(ledger),
        "submissions": [line.as_json() for line in book.submissions],
        "rank_correlation": correlations,
        "problems": list(book.problems),
        "last_hash": book.last_hash,
    }
    next_step = "" if count else shared.next_command("submit", "RUN", "--public", "SCORE", carry=())
    console.done(result, text="\n".join(parts), next_step=next_step)
    if verify and book.problems:
        raise typer.Exit(1)


def _correlation(book: Ledger, get: Callable[[Submission], float | None]) -> float | None:
    pairs = [
        (line.validation["joint"], score)
        for line in book.by_file()
        if (score := get(line)) is not None and "joint" in line.validation
    ]
    return rank_correlation([first for first, _ in pairs], [second for _, second in pairs])
