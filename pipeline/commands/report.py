"""`faceline report`: the HTML report of a finished run."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.checked_paths import AnyRunArg
from pipeline.commands.options import SharedOptions, with_shared_options
from pipeline.ledger import LEDGER
from pipeline.run_state import read_run


@with_shared_options("cache", "json", "quiet")
def report(
    shared: SharedOptions,
    folder: AnyRunArg,
    ledger: Annotated[Path, typer.Option("--ledger", help="The ledger of submissions.", metavar="FILE")] = LEDGER,
) -> None:
    """Write the HTML report of a run again."""
    from pipeline.reports.run_report import write_report

    context = shared.context()
    state = read_run(folder)
    if state.status != "finished":
        context.console.warn(f"{state.describe()}. The report shows what is there.")
    path = write_report(folder, context.cache, ledger)
    context.console.done({"report": str(path)}, text=f"Report: {path}")
