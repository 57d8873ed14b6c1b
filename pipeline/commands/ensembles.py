"""The command line's `faceline vote` and `faceline distill`: parse, call one function, print.

Nothing heavy is imported before the command needs it, so that --help answers at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options import CacheOpt, ConfigOpt, DataArg, DeviceOpt, JsonOpt, QuietOpt, SetOpt, WorkersOpt

if TYPE_CHECKING:
    from pipeline.context import RunContext


def vote(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished runs on the same folds.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for votes.json; `predict --bundle` takes it.")],
    config: ConfigOpt = None,
    settings: SetOpt = None,
    json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Weigh several runs on the people that they held out, so that their bundles vote."""
    from pipeline.context import make_context

    vote_stage(runs, out, make_context(config, settings, None, "cpu", None, as_json=json, quiet=quiet))


def distill(
    data: DataArg,
    teacher: Annotated[
        list[Path],
        typer.Option("--teacher", help="A run, a folder of `vote` or a bundle. Of several, the mean.", metavar="T"),
    ],
    out: Annotated[Path, typer.Option("--out", help="The student's run.", metavar="RUN")],
    config: ConfigOpt = None,
    settings: SetOpt = None,
    cache: CacheOpt = None,
    device: DeviceOpt = "auto",
    workers: WorkersOpt = None,
    json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Train on labels and on what teachers tell, so that a small network comes near to a large vote."""
    from pipeline.chain import train_data
    from pipeline.context import make_context, with_ranks

    context = with_ranks(make_context(config, settings, cache, device, workers, as_json=json, quiet=quiet))
    finished = train_data(data, out, context, teacher)
    context.console.scores(finished.scores, "Scores on the held-out fold")
    next_step = f"faceline predict PHOTOS --bundle {out / 'bundle'}"
    context.console.done(finished.as_json(), text=f"Run: {out}", next_step=next_step)


def vote_stage(runs: list[Path], out: Path, context: "RunContext") -> None:
    """`faceline vote`: weights, and how each run alone, equal weights and these do."""
    from pipeline.evaluation.ensemble_weights import weigh_runs

    weighed = weigh_runs(runs, out, context.settings.predict)
    for warning in weighed.warnings:
        context.console.warn(warning)
    tasks = list(weighed.weights)
    scored = [(one.name, one.scores) for one in weighed.mixtures]
    rows = [[name, *(s[which].macro_f1 if which in s else "" for which in ("joint", *tasks))] for name, s in scored]
    context.console.table("Macro-F1 on held-out people", ["", "joint", *tasks], rows)
    losses = [[one.name, *(one.losses.get(task, "") for task in tasks)] for one in weighed.mixtures]
    context.console.table("Log loss", ["", *tasks], losses)
    weights = [[str(run), *(weighed.weights[task][number] for task in tasks)] for number, run in enumerate(runs)]
    context.console.table("Weights", ["", *tasks], weights)
    told = {"weights": {name: list(own) for name, own in weighed.weights.items()},
            "scores": [one.as_json() for one in weighed.mixtures], "photos": weighed.photos,
            "people": weighed.people, "votes": str(out / "votes.json"), "warnings": list(weighed.warnings)}  # fmt: skip
    text = f"Weighed on {weighed.photos} photos of {weighed.people} people.\nVotes: {out / 'votes.json'}"
    context.console.done(told, text=text, next_step=f"faceline predict PHOTOS --bundle {out}")
