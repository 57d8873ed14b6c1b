"""`faceline labels ...`: the commands that find and correct doubtful labels; each calls one function."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from cache.errors import BundleError
from cache.location import with_home
from pipeline.commands.checked_paths import DataArg
from pipeline.commands.options import REVIEW_CARRIES, SharedOptions, with_shared_options

labels_app = typer.Typer(name="labels", help="Find and correct doubtful labels.", no_args_is_help=True)

OutOpt = Annotated[Path, typer.Option("--out", help="The folder to write into.", metavar="DIR")]
TasksOpt = Annotated[list[str] | None, typer.Option("--task", help="Only this task. May be repeated.")]


@labels_app.command("suspects")
@with_shared_options()
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
    next_step = shared.next_command("review", *run, carry=REVIEW_CARRIES)
    shared = with_config_of(run[0], shared)
    from pipeline.labels.suspects import suspects_stage

    suspects_stage(data, run, out, task or (), top, shared.context(), next_step)


@labels_app.command("tomek")
@with_shared_options()
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
    shared = with_config_of(run, shared)
    next_step = shared.next_command("labels", "apply", out / "removals.csv", data)
    from pipeline.labels.tomek_links import tomek_stage

    tomek_stage(data, run, out, task or (), shared.context(), next_step)


@labels_app.command("apply")
@with_shared_options()
def labels_apply(
    shared: SharedOptions,
    file: Annotated[str, typer.Argument(help="A table of corrections, or `boostcamp`.")],
    data: DataArg,
) -> None:
    """Check a table of corrections against DATA and show what it changes; no file of DATA is touched."""
    from pipeline.intake.corrections import locate_list

    file = str(with_home(file))
    locate_list(file)  # refuses a file that is not there
    from pipeline.labels.suspects import apply_stage

    context = shared.context()
    files = [*context.settings.data.corrections, file]
    plain = all(re.fullmatch(r"[\w./-]+", name) for name in files)  # else it needs YAML's quotes
    corrections = f"[{', '.join(files)}]" if plain else json.dumps(files, ensure_ascii=False)
    next_step = replace(shared, settings=[*(shared.settings or ()), f"data.corrections={corrections}"])
    apply_stage(file, data, context, next_step.next_command("train", data))


def with_config_of(run: Path, shared: SharedOptions) -> SharedOptions:
    """Put the settings of a run below those of --config; BundleError if the folder is not a run."""
    config = run / "config.yaml"
    if not config.is_file():
        raise BundleError(f"{run} holds no run: there is no config.yaml in it")
    return replace(shared, config=[config, *(shared.config or ())])
