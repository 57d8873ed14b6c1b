"""The command line's `faceline labels ...`: parse, call one function, print.

Nothing heavy is imported before a command needs it, so that --help answers at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options import CacheOpt, ConfigOpt, DataArg, DeviceOpt, JsonOpt, QuietOpt, SetOpt, WorkersOpt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.context import RunContext


labels_app = typer.Typer(help="Find and mend doubtful labels.", no_args_is_help=True)

OutOpt = Annotated[Path, typer.Option("--out", help="The folder to write into.", metavar="DIR")]
OneTaskOpt = Annotated[list[str] | None, typer.Option("--task", help="Only this task. May be repeated.")]


@labels_app.command("suspects")
def labels_suspects(
    data: DataArg,
    run: Annotated[
        list[Path],
        typer.Option(
            "--run",
            help="A run whose held-out photos are looked at. Repeated, the runs held out other folds.",
            metavar="RUN",
        ),
    ],
    out: OutOpt,
    top: Annotated[
        int, typer.Option("--top", min=0, max=100_000, help="Ranks of each task that come with their crops.")
    ] = 100,
    task: OneTaskOpt = None,
    settings: SetOpt = None,
    cache: CacheOpt = None,
    workers: WorkersOpt = None,
    json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Rank the labels that networks contradict which were not trained on them."""
    from pipeline.labels.suspects import suspects_stage

    suspects_stage(data, run, out, task or (), top, _context(run[0], settings, cache, "cpu", workers, json, quiet))


@labels_app.command("tomek")
def labels_tomek(
    data: DataArg,
    run: Annotated[Path, typer.Option("--run", help="The run whose networks tell what is alike.", metavar="RUN")],
    out: OutOpt,
    task: OneTaskOpt = None,
    settings: SetOpt = None,
    cache: CacheOpt = None,
    device: DeviceOpt = "auto",
    workers: WorkersOpt = None,
    json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """List photos of different classes that are each other's nearest neighbour."""
    from pipeline.labels.tomek_links import tomek_stage

    tomek_stage(data, run, out, task or (), _context(run, settings, cache, device, workers, json, quiet))


@labels_app.command("apply")
def labels_apply(
    file: Annotated[str, typer.Argument(help="A table of corrections, or `boostcamp`.")],
    data: DataArg,
    config: ConfigOpt = None,
    settings: SetOpt = None,
    json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Check a table of corrections against DATA and show what it changes; no file of DATA is touched."""
    from pipeline.context import make_context
    from pipeline.labels.suspects import apply_stage

    apply_stage(file, data, make_context(config, settings, None, "cpu", None, as_json=json, quiet=quiet))


def _context(
    run: Path,
    overrides: "Sequence[str] | None",
    cache: str | None,
    device: str,
    workers: int | None,
    as_json: bool,
    quiet: bool,
) -> "RunContext":
    """A job with a run's own settings."""
    from cache.errors import BundleError
    from pipeline.context import make_context

    config = run / "config.yaml"
    if not config.is_file():
        raise BundleError(f"{run} holds no run: there is no config.yaml in it")
    return make_context(config, overrides, cache, device, workers, as_json=as_json, quiet=quiet)
