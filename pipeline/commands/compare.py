"""The command line's `faceline compare`: parse, call one function, print.

Nothing heavy is imported before the command needs it, so that --help answers at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import CacheOpt, DataArg, DeviceOpt, JsonOpt, QuietOpt, SetOpt, WorkersOpt


def compare(
    data: DataArg,
    configs: Annotated[list[Path], typer.Argument(help="Settings, YAML files; the first is compared with each other.")],
    out: Annotated[Path, typer.Option("--out", help="The comparison's folder; keeps every run.", metavar="DIR")],
    folds: Annotated[int, typer.Option(min=2, max=100, help="Folds that the people are dealt into.")] = 5,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Trainings on every fold.")] = 1,
    held_out: Annotated[
        str | None, typer.Option("--held-out", help="Only these folds, as in 0,2.", metavar="FOLDS")
    ] = None,
    first: Annotated[int | None, typer.Option(min=1, help="Only so many folds.", metavar="N")] = None,
    split_seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of the folds.")] = 0,
    settings: SetOpt = None,
    cache: CacheOpt = None,
    device: DeviceOpt = "auto",
    workers: WorkersOpt = None,
    json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Train each configuration on the same folds; macro-F1 with paired differences and 95% intervals over people."""
    from pipeline.commands.stages import compare_stage
    from pipeline.context import make_context
    from pipeline.experiments.compare import make_plan

    overrides = settings or []
    plan = make_plan(
        data, configs, out, folds=folds, seeds=seeds, held_out=held_out, first=first, split_seed=split_seed,
        overrides=overrides,
    )  # fmt: skip
    compare_stage(plan, make_context(configs[0], overrides, cache, device, workers, as_json=json, quiet=quiet))
