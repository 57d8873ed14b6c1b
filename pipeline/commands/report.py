"""`faceline report`: the HTML report of a run in whatever state it is, or several runs side by side."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.checked_paths import AnyRunsArg
from pipeline.commands.options import SharedOptions, with_shared_options
from pipeline.ledger import LEDGER


@with_shared_options("cache", "device", "json", "quiet")
def report(
    shared: SharedOptions,
    folders: AnyRunsArg,
    ledger: Annotated[Path, typer.Option("--ledger", help="The ledger of submissions.", metavar="FILE")] = LEDGER,
) -> None:
    """Write RUN/report.html; of several runs, comparison.html in the folder of the first."""
    from pipeline.run_state import read_run

    context = shared.context()
    for folder in folders:
        state = read_run(folder)
        if state.status != "finished":
            context.console.warn(f"{state.describe()}. The report shows what is there.")
    if len(folders) > 1:
        from pipeline.experiments.comparison_page import write_comparison

        path = write_comparison(folders)
    else:
        from pipeline.reports.run_report import write_report

        path = write_report(folders[0], context.cache, ledger, context.torch_device())
    context.console.done({"report": str(path)}, text=f"Report: {path}")
