"""`faceline labels ...`: the commands that find and correct doubtful labels; each calls one function."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from cache.errors import BundleError
from pipeline.commands.options import DataArg, SharedOptions, with_shared_options

labels_app = typer.Typer(name="labels", help="Find and correct doubtful labels.", no_args_is_help=True)

OutOpt = Annotated[Path, typer.Option("--out", help="The folder to write into.", metavar="DIR")]
TasksOpt = Annotated[list[str] | None, typer.Option("--task", help="Only this task. May be repeated.")]


@labels_app.command("suspects")
@with_shared_options("settings", "cache", "workers", "json", "quiet")
def labels_suspects(
    shared: SharedOptions,
    data: DataArg,
    run: Annotated[
        list[Path],
        typer.Option(
            "--run",
            help="A run whose held-out photos are examined. Repeated, the runs held out other folds.",
            metavar="RUN",
        ),
    ],
    out: OutOpt,
    top: Annotated[
        int, typer.Option("--top", min=0, max=100_000, help="Ranks of each task that come with their crops.")
    ] = 100,
    task: TasksOpt = None,
) -> None:
    """Rank the labels that are contradicted by networks which were not trained on them."""
    from pipeline.labels.suspects import suspects_stage

    context = replace(shared, config=_config_of(run[0]), device="cpu").context()
    suspects_stage(data, run, out, task or (), top, context)


@labels_app.command("tomek")
@with_shared_options("settings", "cache", "device", "workers", "json", "quiet")
def labels_tomek(
    shared: SharedOptions,
    data: DataArg,
    run: Annotated[
        Path, typer.Option("--run", help="The run whose networks say which photos are similar.", metavar="RUN")
    ],
    out: OutOpt,
    task: TasksOpt = None,
) -> None:
    """List photos of different classes that are each other's nearest neighbour."""
    from pipeline.labels.tomek_links import tomek_stage

    tomek_stage(data, run, out, task or (), replace(shared, config=_config_of(run)).context())


@labels_app.command("apply")
@with_shared_options("config", "settings", "json", "quiet")
def labels_apply(
    shared: SharedOptions,
    file: Annotated[str, typer.Argument(help="A table of corrections, or `boostcamp`.")],
    data: DataArg,
) -> None:
    """Check a table of corrections against DATA and show what it changes; no file of DATA is touched."""
    from pipeline.labels.suspects import apply_stage

    apply_stage(file, data, shared.context())


def _config_of(run: Path) -> Path:
    """Return the file with a run's settings; BundleError if the folder is not a run."""
    config = run / "config.yaml"
    if not config.is_file():
        raise BundleError(f"{run} holds no run: there is no config.yaml in it")
    return config
