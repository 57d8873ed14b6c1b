"""`faceline distill`: a network trained on labels and on the predictions of teachers."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.checked_paths import DataArg, TeachersOpt
from pipeline.commands.options import PREDICT_CARRIES, SharedOptions, with_shared_options


@with_shared_options()
def distill(
    shared: SharedOptions,
    data: DataArg,
    teacher: TeachersOpt,
    out: Annotated[Path, typer.Option("--out", help="The student's run.", metavar="RUN")],
) -> None:
    """Train on labels and teachers' predictions, so that a small network comes close to a large ensemble."""
    from pipeline.chain import train_data
    from pipeline.context import with_ranks

    context = with_ranks(shared.context())
    finished = train_data(data, out, context, teacher)
    context.console.scores(finished.scores, "Scores on the held-out fold", context.settings.held_out_note)
    next_step = shared.next_command("predict", "PHOTOS", "--bundle", out / "bundle", carry=PREDICT_CARRIES)
    context.console.done(finished.as_json(), text=f"Run: {out}", next_step=next_step)
