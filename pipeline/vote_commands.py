"""The command line's `faceline vote` and `faceline distill`: parse, call one function, print.

Nothing heavy is imported before the command needs it, so that --help answers at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.options import CacheOpt, ConfigOpt, DataArg, DeviceOpt, JsonOpt, QuietOpt, SetOpt, WorkersOpt

if TYPE_CHECKING:
    from pipeline.job import Job


def vote(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished runs on the same folds.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for votes.json; `predict --bundle` takes it.")],
    config: ConfigOpt = None,
    settings: SetOpt = None,
    json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Weigh several runs on the people that they held out, so that their bundles vote."""
    from pipeline.job import make_job

    vote_stage(runs, out, make_job(config, settings, None, "cpu", None, as_json=json, quiet=quiet))


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
    from pipeline.job import among_ranks, make_job

    job = among_ranks(make_job(config, settings, cache, device, workers, as_json=json, quiet=quiet))
    finished = train_data(data, out, job, teacher)
    job.show.scores(finished.scores, "Scores on the held-out fold")
    next_step = f"faceline predict PHOTOS --bundle {out / 'bundle'}"
    job.show.done(finished.as_json(), text=f"Run: {out}", next_step=next_step)


def vote_stage(runs: list[Path], out: Path, job: "Job") -> None:
    """`faceline vote`: weights, and how each run alone, equal weights and these do."""
    from pipeline.voting import weigh_runs

    weighed = weigh_runs(runs, out, job.settings.predict)
    for warning in weighed.warnings:
        job.show.warn(warning)
    tasks = list(weighed.weights)
    scored = [(one.name, one.scores) for one in weighed.mixtures]
    rows = [[name, *(s[which].macro_f1 if which in s else "" for which in ("joint", *tasks))] for name, s in scored]
    job.show.table("Macro-F1 on held-out people", ["", "joint", *tasks], rows)
    losses = [[one.name, *(one.losses.get(task, "") for task in tasks)] for one in weighed.mixtures]
    job.show.table("Log loss", ["", *tasks], losses)
    weights = [[str(run), *(weighed.weights[task][number] for task in tasks)] for number, run in enumerate(runs)]
    job.show.table("Weights", ["", *tasks], weights)
    told = {"weights": {name: list(own) for name, own in weighed.weights.items()},
            "scores": [one.as_json() for one in weighed.mixtures], "photos": weighed.photos,
            "people": weighed.people, "votes": str(out / "votes.json"), "warnings": list(weighed.warnings)}  # fmt: skip
    text = f"Weighed on {weighed.photos} photos of {weighed.people} people.\nVotes: {out / 'votes.json'}"
    job.show.done(told, text=text, next_step=f"faceline predict PHOTOS --bundle {out}")
