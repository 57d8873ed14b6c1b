"""`faceline compare`: several settings, trained on the same folds of the same people."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.checked_paths import ConfigsArg, DataArg
from pipeline.commands.options import SharedOptions, with_shared_options

if TYPE_CHECKING:
    from pipeline.experiments.results import Comparison


@with_shared_options()
def compare(
    shared: SharedOptions,
    data: DataArg,
    configs: ConfigsArg,
    out: Annotated[Path, typer.Option("--out", help="The comparison's folder; keeps every run.", metavar="DIR")],
    folds: Annotated[int, typer.Option(min=2, max=100, help="Folds that the people are dealt into.")] = 5,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Trainings on every fold.")] = 1,
    held_out: Annotated[
        str | None, typer.Option("--held-out", help="Only these folds, as in 0,2.", metavar="FOLDS")
    ] = None,
    first: Annotated[int | None, typer.Option(min=1, help="Only so many folds.", metavar="N")] = None,
    split_seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of the folds.")] = 0,
) -> None:
    """Train each configuration on the same folds; macro-F1 with paired differences and 95% intervals over people."""
    from pipeline.experiments.compare import make_plan, train_plan
    from pipeline.experiments.results import collect_results, write_comparison

    plan = make_plan(
        data, configs, out, folds=folds, seeds=seeds, held_out=held_out, first=first, split_seed=split_seed,
        overrides=shared.settings or [], base=shared.config or [],
    )  # fmt: skip
    context = replace(shared, config=[*(shared.config or ()), configs[0]]).context()
    rounds, fold_count = len(plan.rounds()), len(plan.held_out)

    def write_and_show(comparison: "Comparison", *, remark: bool) -> None:
        write_comparison(comparison)
        if remark:
            context.console.line(f"So far: {comparison.summary()}")
        for title, columns, rows in comparison.tables():
            context.console.table(title, columns, rows, remark=remark)

    def after_round(done: int) -> None:
        # Results are shown after every fold of the first seed, then after every further seed.
        if done < rounds and (done <= fold_count or done % fold_count == 0):
            write_and_show(collect_results(plan, done), remark=True)

    train_plan(plan, context, after_round)
    comparison = collect_results(plan, rounds)
    write_and_show(comparison, remark=False)
    for warning in comparison.warnings():
        context.console.warn(warning)
    text = f"{comparison.summary()}.\nComparison: {plan.out / 'compare.md'}, compare.json"
    context.console.done(comparison.as_json(), text=text)
