"""`faceline demo`: a first run on drawn people."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import PREDICT_CARRIES, SharedOptions, with_shared_options

# Those of examples/minute.yaml, which an installed package does not have
DEMO_SETTINGS = (
    'tasks.age.head.weights={">=60": 2}',
    "model.sharing=shared",
    "train={freeze: true, views: 2}",
    "ensemble.face.model={backbone: face_dlib, input: [160, 120], zoom: 1.7}",
    "ensemble.wide.model={backbone: face_dlib, input: [150, 150], zoom: 1.3}",
    "ensemble.lite.model={backbone: tf_efficientnet_lite0, input: [112, 84], zoom: 1.3}",
    "split={folds: 4, held_out: all, refit: true}",
    "predict.decide=f1",
)


@with_shared_options()
def demo(
    shared: SharedOptions,
    out: Annotated[Path, typer.Argument(help="A new folder for the data set and its run.")],
    people: Annotated[int, typer.Option(min=8, max=100_000, help="People to train on; half as many to predict.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Of the drawn people.")] = 0,
) -> None:
    """Draw a small data set and run the whole chain on it."""
    from pipeline.demo.run_demo import run_demo

    settings = DEMO_SETTINGS if shared.config is None else ()
    context = replace(shared, settings=[*settings, *(shared.settings or [])]).context()
    finished, scores = run_demo(out, people, seed, context)
    report = finished.run / "report.html"
    context.console.scores(scores, "Scores on the demo's eval photos")
    as_json = {name: score.as_json() for name, score in scores.items()}
    record = {"data": str(out), **finished.as_json(), "report": str(report), "scores": as_json}
    next_step = shared.next_command("predict", "PHOTOS", "--bundle", finished.run / "bundle", carry=PREDICT_CARRIES)
    context.console.done(record, text=f"Report: {report}", next_step=next_step)
