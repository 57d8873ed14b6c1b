"""The command line: parse, call one function, print.

Nothing heavy is imported before a command needs it, so that --help answers at once.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cache.errors import UsageError
from pipeline.commands.cache import cache_app
from pipeline.commands.compare import compare
from pipeline.commands.ensembles import distill, vote
from pipeline.commands.exit_codes import run_command
from pipeline.commands.labels import labels_app
from pipeline.commands.options import (
    CacheOpt,
    ConfigOpt,
    DataArg,
    DeviceOpt,
    JsonOpt,
    QuietOpt,
    RunOpt,
    SetOpt,
    WorkersOpt,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.context import RunContext


app = typer.Typer(
    name="faceline",
    help="From a folder of face photos and a table of labels to trained attribute classifiers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cache_app, name="cache")
app.add_typer(labels_app, name="labels")

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

DEMO_SETTINGS = ("train.epochs=8", "train.batch=32", "model.zoom=1.2")  # a few hundred photos want more, smaller steps


@app.callback()
def _options(debug: Debug = False) -> None:
    if debug:
        os.environ["FACELINE_DEBUG"] = "1"


@app.command()
def demo(
    out: Annotated[Path, typer.Argument(help="A new folder for the data set and its run.")],
    people: Annotated[int, typer.Option(min=8, max=100_000, help="People to train on; half as many to predict.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Of the drawn people.")] = 0,
    config: ConfigOpt = None,
    settings: SetOpt = None,
    cache: CacheOpt = None,
    device: DeviceOpt = "auto",
    workers: WorkersOpt = None,
    json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Draw a small data set and run the whole chain on it."""
    from pipeline.demo.run_demo import run_demo

    context = _context(config, [*DEMO_SETTINGS, *(settings or [])], cache, device, workers, json, quiet)
    finished, scores = run_demo(out, people, seed, context)
    context.console.scores(scores, "Scores on the demo's eval photos")
    context.console.done(
        {"data": str(out), **finished.as_json(), "report": str(finished.run / "report.html"),
         "scores": {name: score.as_json() for name, score in scores.items()}},
        text=f"Report: {finished.run / 'report.html'}",
        next_step=f"faceline predict PHOTOS --bundle {finished.run / 'bundle'}",
    )  # fmt: skip


@app.command()
def check(
    data: DataArg,
    config: ConfigOpt = None,
    settings: SetOpt = None,
    workers: WorkersOpt = None,
    json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Say what is in a data set, and what is wrong with it."""
    from pipeline.commands.stages import check_stage

    context = _context(config, settings, None, "cpu", workers, json, quiet)
    if check_stage(data, context):
        raise typer.Exit(1)


@app.command()
def detect(
    data: DataArg,
    config: ConfigOpt = None,
    settings: SetOpt = None,
    cache: CacheOpt = None,
    device: DeviceOpt = "auto",
    workers: WorkersOpt = None,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="Write a contact sheet of the missed faces.", metavar="PNG")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try the photos again that could not be read before.")
    ] = False,
    shard: Annotated[
        str | None, typer.Option("--shard", help="Only this share of the photos, of n that run apart.", metavar="I/N")
    ] = None,
    engine: Annotated[
        str, typer.Option("--engine", help="local, or ray: on the Ray cluster that RAY_ADDRESS names.")
    ] = "local",
    json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Find the face in every photo of DATA and keep the crops in the cache."""
    from pipeline.commands.stages import detect_on_ray_stage, detect_stage
    from pipeline.detection.shards import parse_shard

    if engine not in {"local", "ray"}:
        raise UsageError(f"--engine {engine}: it is local or ray")
    part = parse_shard(shard) if shard is not None else None
    context = _context(config, settings, cache, device, workers, json, quiet)
    if engine == "local":
        detect_stage(data, context, sheet, retry=retry_failed, shard=part)
    elif part is None:
        detect_on_ray_stage(data, context, sheet, retry=retry_failed, threads=workers)
    else:
        raise UsageError("--shard and --engine ray exclude each other: Ray divides the photos by itself")


@app.command()
def train(
    data: DataArg,
    config: ConfigOpt = None,
    settings: SetOpt = None,
    out: RunOpt = None,
    cache: CacheOpt = None,
    device: DeviceOpt = "auto",
    workers: WorkersOpt = None,
    preview: Annotated[
        bool,
        typer.Option("--preview", help="Only show what each class is trained on: counts, and a sheet of pictures."),
    ] = False,
    json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Train the classifiers; faces that are not in the cache are found first."""
    from pipeline.chain import train_data
    from pipeline.context import with_ranks

    if preview:
        from pipeline.commands.stages import preview_stage

        context = _context(config, settings, cache, device, workers, json, quiet)
        preview_stage(data, out or _run_folder(data, context), context)
        return
    context = with_ranks(_context(config, settings, cache, device, workers, json, quiet))
    run = out or _run_folder(data, context)
    finished = train_data(data, run, context)
    context.console.scores(finished.scores, "Scores on the held-out fold")
    next_step = f"faceline predict PHOTOS --bundle {run / 'bundle'}"
    context.console.done(finished.as_json(), text=f"Run: {run}", next_step=next_step)


@app.command()
def predict(
    photos: Annotated[Path, typer.Argument(help="A folder of photos, a table, or a data set with an eval part.")],
    bundle: Annotated[
        list[Path],
        typer.Option("--bundle", help="RUN/bundle of a training, or a folder of `vote`. Several vote.", metavar="B"),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for predictions.csv.")] = Path("predictions"),
    config: ConfigOpt = None,
    settings: SetOpt = None,
    cache: CacheOpt = None,
    device: DeviceOpt = "auto",
    workers: WorkersOpt = None,
    json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Predict every photo with a trained bundle, or with several that vote."""
    from pipeline.commands.stages import predict_stage

    predict_stage(photos, bundle, out, _context(config, settings, cache, device, workers, json, quiet))


@app.command()
def run(
    data: DataArg,
    config: ConfigOpt = None,
    settings: SetOpt = None,
    out: RunOpt = None,
    cache: CacheOpt = None,
    device: DeviceOpt = "auto",
    workers: WorkersOpt = None,
    json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Check, detect, split, train, evaluate, predict DATA's eval part, report."""
    from pipeline.chain import run_chain
    from pipeline.context import with_ranks

    context = with_ranks(_context(config, settings, cache, device, workers, json, quiet))
    folder = out or _run_folder(data, context)
    finished = run_chain(data, folder, context)
    context.console.scores(finished.scores, "Scores on the held-out fold")
    told = ", ".join(f"{count} {status}" for status, count in finished.counts.items())
    spent = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in finished.seconds.items())
    text = f"Predictions: {told}\nTime: {spent}\nReport: {folder / 'report.html'}"
    next_step = f"faceline evaluate {folder / 'predictions.csv'} --truth ANSWERS.csv"
    context.console.done(finished.as_json(), text=text, next_step=next_step)


@app.command()
def evaluate(
    pred: Annotated[Path, typer.Argument(help="predictions.csv or submission.csv.")],
    truth: Annotated[Path, typer.Option("--truth", help="A table of answers.", metavar="T")],
    config: ConfigOpt = None,
    settings: SetOpt = None,
    json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Score predictions: macro-F1 and accuracy, per task and joint, with 95% intervals over people."""
    from pipeline.commands.stages import evaluate_stage

    evaluate_stage(pred, truth, _context(config, settings, None, "cpu", None, json, quiet))


app.command()(compare)
app.command()(vote)
app.command()(distill)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    cache: CacheOpt = None,
    json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Write the HTML report of a run again."""
    from cache import cache_folder
    from pipeline.console import Console
    from pipeline.reports.run_report import write_report

    path = write_report(folder, cache_folder(cache))
    Console(as_json=json, quiet=quiet).done({"report": str(path)}, text=f"Report: {path}")


@app.command()
def doctor(json: JsonOpt = False, quiet: QuietOpt = False) -> None:
    """Show versions, devices, what is installed, and how fast this machine is."""
    from pipeline.commands.doctor import examine

    context = _context(None, None, None, "auto", None, json, quiet)
    examine(context)


def main() -> None:
    """The console script."""
    run_command(app)


def _context(
    config: Path | None,
    overrides: "Sequence[str] | None",
    cache: str | None,
    device: str,
    workers: int | None,
    as_json: bool,
    quiet: bool,
) -> "RunContext":
    from pipeline.context import make_context

    return make_context(config, overrides, cache, device, workers, as_json=as_json, quiet=quiet)


def _run_folder(data: Path, context: "RunContext") -> Path:
    """The same data and settings have the same folder, so that the same command goes on after a kill."""
    from cache.config import fingerprint

    return Path("runs") / f"{data.resolve().stem}-{fingerprint(context.settings.model_dump(mode='json'))[:8]}"
