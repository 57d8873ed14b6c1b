"""`faceline demo`: a first run on drawn people."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import PREDICT_CARRIES, SharedOptions, with_shared_options

DEMO_SETTINGS = ("train.epochs=8", "train.batch=32", "model.zoom=1.2")  # a few hundred photos want more, smaller steps


@with_shared_options()
def demo(
    shared: SharedOptions,
    out: Annotated[Path, typer.Argument(help="A new folder for the data set and its run.")],
    people: Annotated[int, typer.Option(min=8, max=100_000, help="People to train on; half as many to predict.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Of the drawn people.")] = 0,
) -> None:
    """Draw a small data set and run the whole chain on it."""
    from pipeline.demo.run_demo import run_demo

    context = replace(shared, settings=[*DEMO_SETTINGS, *(shared.settings or [])]).context()
    finished, scores = run_demo(out, people, seed, context)
    report = finished.run / "report.html"
    context.console.scores(scores, "Scores on the demo's eval photos")
    as_json = {name: score.as_json() for name, score in scores.items()}
    record = {"data": str(out), **finished.as_json(), "report": str(report), "scores": as_json}
    next_step = shared.next_command("predict", "PHOTOS", "--bundle", finished.run / "bundle", carry=PREDICT_CARRIES)
    context.console.done(record, text=f"Report: {report}", next_step=next_step)
