"""The command line's `faceline cache ...`: parse, call one function, print.

Nothing heavy is imported before a command needs it, so that --help answers at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.commands.options import CacheOpt, ConfigOpt, DataArg, DeviceOpt, JsonOpt, QuietOpt, SetOpt, WorkersOpt

if TYPE_CHECKING:
    from pipeline.console import Console

cache_app = typer.Typer(help="Look after the cache of crops.", no_args_is_help=True)


@cache_app.command("stats")
def cache_stats(cache: CacheOpt = None, json: JsonOpt = False, quiet: QuietOpt = False) -> None:
    """Count what the cache holds, per fingerprint."""
    from pipeline.commands.cache_maintenance import show_stats

    show_stats(*_care(cache, json, quiet))


@cache_app.command("verify")
def cache_verify(
    cache: CacheOpt = None,
    repair: Annotated[bool, typer.Option("--repair", help="Set damaged units aside; detect makes them again.")] = False,
    json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Check every crop and manifest; exit code 1 when anything is damaged."""
    from pipeline.commands.cache_maintenance import show_verify

    if not show_verify(*_care(cache, json, quiet), repair=repair):
        raise typer.Exit(1)


@cache_app.command("pack")
def cache_pack(
    data: DataArg,
    config: ConfigOpt = None,
    settings: SetOpt = None,
    cache: CacheOpt = None,
    device: DeviceOpt = "auto",
    workers: WorkersOpt = None,
    json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Make the arrays that training DATA with these settings reads; `train` makes them by itself otherwise."""
    from pipeline.commands.cache_pack import pack_stage
    from pipeline.context import make_context

    pack_stage(data, make_context(config, settings, cache, device, workers, as_json=json, quiet=quiet))


@cache_app.command("export")
def cache_export(
    data: DataArg,
    out: Annotated[Path, typer.Option("--out", help="The folder to write; it must not be there yet.", metavar="DIR")],
    form: Annotated[
        Literal["folder", "webdataset"], typer.Option("--format", help="Files and tables, or tar files for WebDataset.")
    ] = "folder",
    config: ConfigOpt = None,
    settings: SetOpt = None,
    cache: CacheOpt = None,
    device: DeviceOpt = "auto",
    workers: WorkersOpt = None,
    json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Write the crops of DATA with their labels for other programs."""
    from pipeline.commands.cache_exchange import export_stage
    from pipeline.context import make_context

    export_stage(data, out, form, make_context(config, settings, cache, device, workers, as_json=json, quiet=quiet))


@cache_app.command("import")
def cache_import(
    source: Annotated[str, typer.Argument(help="Another cache, a folder or URL, or what `cache export` wrote.")],
    cache: CacheOpt = None,
    json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Take in the crops of another cache or of an export."""
    from pipeline.commands.cache_exchange import import_stage

    import_stage(source, *_care(cache, json, quiet))


@cache_app.command("gc")
def cache_gc(
    cache: CacheOpt = None,
    keep: Annotated[
        list[Path] | None,
        typer.Option(
            "--keep", help="A settings file, run or bundle whose crops stay. May be repeated.", metavar="PATH"
        ),
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete what is listed; without it, only list.")] = False,
    json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """List what neither the default settings nor --keep need, and what dead processes left."""
    from pipeline.commands.cache_maintenance import show_garbage

    show_garbage(*_care(cache, json, quiet), keep or [], delete=delete)


def _care(cache: str | None, as_json: bool, quiet: bool) -> "tuple[Path, Console]":
    from cache import cache_folder
    from pipeline.console import Console

    return cache_folder(cache), Console(as_json=as_json, quiet=quiet)
