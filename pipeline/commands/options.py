"""The options that several commands share, each defined once."""

from pathlib import Path
from typing import Annotated

import typer

DataArg = Annotated[
    Path, typer.Argument(help="The competition's layout, a CSV or Parquet table, or a folder of photos.")
]
ConfigOpt = Annotated[Path | None, typer.Option("--config", help="Settings, a YAML file.", metavar="FILE")]
SetOpt = Annotated[
    list[str] | None, typer.Option("--set", help="One setting, over the file's. May be repeated.", metavar="KEY=VALUE")
]
RunOpt = Annotated[
    Path | None, typer.Option("--out", help="The run's folder; runs/NAME-SETTINGS by default.", metavar="RUN")
]
CacheOpt = Annotated[
    str | None,
    typer.Option(
        "--cache",
        help="The crops' folder or the URL of an object store; FACELINE_CACHE or the user's cache by default.",
        metavar="DIR|URL",
    ),
]
DeviceOpt = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
WorkersOpt = Annotated[int | None, typer.Option("--workers", min=1, max=256, help="Threads; all cores by default.")]
JsonOpt = Annotated[bool, typer.Option("--json", help="The last line on stdout is one JSON object.")]
QuietOpt = Annotated[bool, typer.Option("--quiet", help="No progress and no remarks.")]
