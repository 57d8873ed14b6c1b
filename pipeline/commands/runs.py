"""`faceline runs`: the runs of a folder as a table, and what changed between two of them."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pipeline.commands.checked_paths import AnyRunArg, RunsFolderArg
from pipeline.commands.options import SharedOptions, with_shared_options


class _ListByDefault(TyperGroup):
    """`faceline runs` and `faceline runs FOLDER` are `faceline runs list FOLDER`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


runs_app = typer.Typer(
    name="runs", help="List runs, or compare two: `runs [FOLDER]`, `runs diff A B`.", cls=_ListByDefault
)


@runs_app.command("list")
@with_shared_options("json", "quiet")
def runs_list(
    shared: SharedOptions,
    folder: RunsFolderArg = Path("runs"),
    where: Annotated[
        str, typer.Option("--where", help='Only runs of which this holds, as in "joint > 0.7".', metavar="CONDITION")
    ] = "",
    sort: Annotated[
        str, typer.Option("--sort", help="Order by this column; with - before it, the largest first.", metavar="COLUMN")
    ] = "",
) -> None:
    """List the runs in FOLDER: data, backbone, macro-F1, training time, status."""
    from pipeline.experiments.run_list import list_runs

    console = shared.context().console
    listed = list_runs(folder, where=where, sort=sort)
    if listed.runs:
        console.table(f"Runs in {folder}", *listed.table())
    for run in listed.runs:
        for problem in run.state.problems:
            console.warn(f"{run.state.folder}: {problem}")
    hidden = f" of {listed.found:,}" if listed.found != len(listed.runs) else ""
    text = f"{len(listed.runs):,}{hidden} {'run' if len(listed.runs) == 1 and not hidden else 'runs'} in {folder}."
    next_step = ""
    if len(listed.runs) > 1:
        last = [run.state.folder for run in listed.runs[-2:]]
        next_step = shared.next_command("runs", "diff", *last, carry=())
    elif not listed.found:
        next_step = shared.next_command("train", "DATA", carry=())
    console.done(listed.as_json(), text=text, next_step=next_step)


@runs_app.command("diff")
@with_shared_options("json", "quiet")
def runs_diff(shared: SharedOptions, first: AnyRunArg, second: AnyRunArg) -> None:
    """Show what changed between two runs, and how scores moved on the people that both held out."""
    from pipeline.console import counted
    from pipeline.experiments.run_difference import compare_runs

    console = shared.context().console
    difference = compare_runs(first, second)
    for title, columns, rows in difference.tables():
        console.table(title, columns, rows)
    for note in difference.notes:
        console.warn(note)
    text = f"{counted(len(difference.settings), 'setting differs', 'settings differ')}."
    console.done(difference.as_json(), text=text, next_step=shared.next_command("report", second, carry=()))
