"""`faceline cache ...`: the commands that look after the cache of crops; each calls one function.

stats, verify and gc are in `cache_maintenance.py`, export and import in `cache_exchange.py`, pack in `cache_pack.py`.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.commands.checked_paths import DataArg
from pipeline.commands.options import SharedOptions, with_shared_options

cache_app = typer.Typer(name="cache", help="Look after the cache of crops.", no_args_is_help=True)


@cache_app.command("stats")
@with_shared_options("cache", "json", "quiet")
def cache_stats(shared: SharedOptions) -> None:
    """Count what the cache holds, per fingerprint."""
    from pipeline.commands.cache_maintenance import show_stats

    show_stats(shared.context(), shared.next_command("cache", "verify", carry=("cache",)))


@cache_app.command("verify")
@with_shared_options("cache", "json", "quiet")
def cache_verify(
    shared: SharedOptions,
    repair: Annotated[bool, typer.Option("--repair", help="Set damaged units aside; detect makes them again.")] = False,
) -> None:
    """Check every crop and manifest; exit code 1 when anything is damaged."""
    from pipeline.commands.cache_maintenance import verify_cache

    if not verify_cache(shared.context(), repair=repair):
        raise typer.Exit(1)


@cache_app.command("pack")
@with_shared_options("config", "settings", "cache", "device", "workers", "json", "quiet")
def cache_pack(shared: SharedOptions, data: DataArg) -> None:
    """Make the arrays that training DATA with these settings reads; `train` makes them by itself otherwise."""
    from pipeline.commands.cache_pack import pack_crops

    pack_crops(data, shared.context(), shared.next_command("train", data))


@cache_app.command("export")
@with_shared_options()
def cache_export(
    shared: SharedOptions,
    data: DataArg,
    out: Annotated[Path, typer.Option("--out", help="The folder to write; it must not be there yet.", metavar="DIR")],
    form: Annotated[
        Literal["folder", "webdataset"], typer.Option("--format", help="Files and tables, or tar files for WebDataset.")
    ] = "folder",
) -> None:
    """Write the crops of DATA with their labels for other programs."""
    from pipeline.commands.cache_exchange import export_crops

    export_crops(data, out, form, shared.context())


@cache_app.command("import")
@with_shared_options("cache", "json", "quiet")
def cache_import(
    shared: SharedOptions,
    source: Annotated[str, typer.Argument(help="Another cache, a folder or URL, or what `cache export` wrote.")],
) -> None:
    """Add the crops of another cache or of an export to this one."""
    from pipeline.commands.cache_exchange import import_crops

    import_crops(source, shared.context())


@cache_app.command("gc")
@with_shared_options("cache", "json", "quiet")
def cache_gc(
    shared: SharedOptions,
    keep: Annotated[
        list[Path] | None,
        typer.Option(
            "--keep", help="A settings file, run or bundle whose crops stay. May be repeated.", metavar="PATH"
        ),
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete what is listed; without it, only list.")] = False,
) -> None:
    """List what neither the default settings nor --keep need, and what dead processes left."""
    from pipeline.commands.cache_maintenance import collect_garbage

    collect_garbage(keep or [], shared.context(), delete=delete)
