"""The command line `faceline`: the commands in the order and under the headings in which --help lists them.

Each command is in the module that is named after it. Nothing heavy is imported before a command needs it, so that
--help answers at once.
"""

import os
import sys
from functools import partial
from typing import Annotated

import typer

from pipeline.commands.bundle import bundle_app
from pipeline.commands.cache import cache_app
from pipeline.commands.check import check
from pipeline.commands.compare import compare
from pipeline.commands.demo import demo
from pipeline.commands.detect import detect
from pipeline.commands.distill import distill
from pipeline.commands.doctor import doctor
from pipeline.commands.evaluate import evaluate
from pipeline.commands.exit_codes import run_command
from pipeline.commands.export import export
from pipeline.commands.labels import labels_app
from pipeline.commands.predict import predict
from pipeline.commands.report import report
from pipeline.commands.review import review
from pipeline.commands.run import run
from pipeline.commands.runs import runs_app
from pipeline.commands.serve import serve
from pipeline.commands.submit import submit
from pipeline.commands.supervisor import run_supervised
from pipeline.commands.train import train
from pipeline.commands.vote import vote

HELP = """From a folder of face photos and a table of labels to trained attribute classifiers.

Begin with: faceline demo OUT

Then, with your photos: faceline check DATA; faceline run DATA --out RUN
"""

app = typer.Typer(
    name="faceline",
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PANELS = {  # within a panel, Typer lists groups such as `cache` after the commands
    "Start here": (demo,),
    "The main way": (check, detect, train, predict, run, evaluate),
    "Looking": (report, review, compare, submit, labels_app, runs_app),
    "Several models": (vote, distill),
    "Looking after": (export, serve, doctor, bundle_app, cache_app),
}
for panel, commands in PANELS.items():
    for command in commands:
        if isinstance(command, typer.Typer):
            app.add_typer(command, rich_help_panel=panel)
        else:
            app.command(rich_help_panel=panel)(command)


def _show_version(requested: bool) -> None:
    if requested:
        from faceline import __version__

        typer.echo(f"faceline {__version__}")
        raise typer.Exit


@app.callback()
def _main_options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    if debug:
        os.environ["FACELINE_DEBUG"] = "1"


def main() -> None:
    """The console script, and `python -m faceline`."""
    run_supervised(partial(run_command, partial(app, prog_name="faceline")), sys.argv[1:])
