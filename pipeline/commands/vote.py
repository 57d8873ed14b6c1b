"""`faceline vote`: how much each of several runs counts in an ensemble of them."""

from pathlib import Path
from typing import Annotated

import typer

from cache.errors import UsageError
from pipeline.commands.checked_paths import RunsArg
from pipeline.commands.options import SharedOptions, with_shared_options

FITTED = ("predict.decide", "predict.calibrate", "predict.unsure")


@with_shared_options("config", "settings", "json", "quiet")
def vote(
    shared: SharedOptions,
    runs: RunsArg,
    out: Annotated[Path, typer.Option("--out", help="Folder for votes.json; `predict --bundle` takes it.")],
) -> None:
    """Fit the weights of an ensemble of runs on the people that they held out."""
    from pipeline.evaluation.ensemble_weights import weigh_runs

    context = shared.context()
    for option in shared.settings or ():
        key = option.partition("=")[0].strip()
        if key not in FITTED:
            raise UsageError(f"--set {key} has no part in vote, which fits {', '.join(FITTED)} to runs as they are")
    weighed = weigh_runs(runs, out, context.settings.predict)
    for warning in weighed.warnings:
        context.console.warn(warning)
    for note in weighed.notes:
        context.console.line(f"Note: {note}.")

    tasks = list(weighed.weights)
    scores, losses = list[list[object]](), list[list[object]]()
    for ensemble in weighed.compared:
        macro_f1 = {name: score.macro_f1 for name, score in ensemble.scores.items()}
        scores.append([ensemble.name, *(macro_f1.get(name, "") for name in ("joint", *tasks))])
        losses.append([ensemble.name, *(ensemble.losses.get(task, "") for task in tasks)])
    weights = [[str(run), *(weighed.weights[task][number] for task in tasks)] for number, run in enumerate(runs)]
    context.console.table("Macro-F1 on held-out people", ["", "joint", *tasks], scores)
    context.console.table("Log loss", ["", *tasks], losses)
    context.console.table("Weights", ["", *tasks], weights)

    votes = str(out / "votes.json")
    context.console.done(
        {"weights": {task: list(task_weights) for task, task_weights in weighed.weights.items()},
         "scores": [ensemble.as_json() for ensemble in weighed.compared], "photos": weighed.photos,
         "people": weighed.people, "votes": votes, "warnings": list(weighed.warnings),
         "notes": list(weighed.notes)},
        text=f"Weighed on {weighed.photos} photos of {weighed.people} people.\nVotes: {votes}",
        next_step=shared.next_command("predict", "PHOTOS", "--bundle", out, carry=()),
    )  # fmt: skip
