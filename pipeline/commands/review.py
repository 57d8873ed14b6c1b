"""`faceline review`: a local page to go through doubtful labels with the keyboard."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.commands.checked_paths import AnyRunsArg
from pipeline.commands.labels import TasksOpt, with_config_of
from pipeline.commands.options import REVIEW_CARRIES, SharedOptions, with_shared_options


@with_shared_options(*REVIEW_CARRIES, "json", "quiet")
def review(
    shared: SharedOptions,
    runs: AnyRunsArg,
    data: Annotated[Path | None, typer.Option("--data", help="DATA of the runs, if it was moved.")] = None,
    show: Annotated[
        Literal["suspects", "mistakes"] | None,
        typer.Option("--show", help="Begin with doubtful labels, or with the worst mistakes."),
    ] = None,
    query: Annotated[
        str, typer.Option("--query", help="Begin with these labels, as in 'gender = female AND p < 0.6'.")
    ] = "",
    task: TasksOpt = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where decisions go; RUN/corrections.jsonl by default.", metavar="FILE"),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="A free one by default.")] = 0,
    static: Annotated[
        Path | None, typer.Option("--static", help="Write the page as one file instead.", metavar="FILE")
    ] = None,
    top: Annotated[
        int, typer.Option("--top", min=1, max=100_000, help="With --static: the most labels in the file.")
    ] = 200,
) -> None:
    """Go through doubtful labels on a local page, with the keyboard; decisions become corrections."""
    shared = with_config_of(runs[0], shared)
    context = shared.context()
    from pipeline.labels.review import review_stage

    review_stage(
        runs,
        context,
        data=data,
        out=out,
        show=show or "",
        query=query,
        task_names=task or (),
        port=port,
        static=static,
        top=top,
        apply_command=partial(shared.next_command, "labels", "apply"),
    )
