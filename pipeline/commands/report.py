"""`faceline report`: the HTML report of a finished run."""

from pipeline.commands.checked_paths import RunArg
from pipeline.commands.options import SharedOptions, with_shared_options


@with_shared_options("cache", "json", "quiet")
def report(shared: SharedOptions, folder: RunArg) -> None:
    """Write the HTML report of a run again."""
    from pipeline.reports.run_report import write_report

    context = shared.context()
    path = write_report(folder, context.cache)
    context.console.done({"report": str(path)}, text=f"Report: {path}")
