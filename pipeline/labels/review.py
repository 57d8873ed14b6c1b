"""`faceline review`: go through doubtful labels on a local page, or write the page as a file.

In: runs that held photos out. Out: corrections.jsonl, a table of corrections that is only added to.
"""

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from cache import atomic
from cache.errors import UsageError
from classify.tasks import Task
from pipeline.console import counted
from pipeline.context import RunContext
from pipeline.intake.decision_log import DecisionLog
from pipeline.labels.review_cases import Case, Review, load_review
from pipeline.labels.review_page import review_page, static_page
from pipeline.labels.review_pictures import ReviewPictures
from pipeline.labels.review_server import LOOPBACK, ReviewApi, bind, review_app, serve_until_stopped
from pipeline.labels.suspects import select_tasks

CORRECTIONS = "corrections.jsonl"


def review_stage(
    runs: Sequence[Path],
    context: RunContext,
    *,
    data: Path | None = None,
    out: Path | None = None,
    show: str = "",
    query: str = "",
    task_names: Sequence[str] = (),
    port: int = 0,
    static: Path | None = None,
    top: int = 200,
    apply_command: Callable[[Path, Path], str] = lambda file, data: "",
) -> None:
    """Show the page until Ctrl-C, or write it as `static`.

    Args:
        runs: whose held-out photos are reviewed.
        context: its settings are those of the first run.
        data: where the data set is now, if it was moved.
        out: the file of decisions; in the first run's folder by default.
        show: "suspects" or "mistakes"; suspects by default, where cleanlab is installed.
        query: a condition, instead of `show`.
        task_names: the tasks to review; all by default.
        port: 0 for a free one.
        static: the file to write instead.
        top: the most cases that it holds.
        apply_command: what to continue with, for a file of corrections and the data set.

    Raises:
        UsageError: an extra is missing, the query is no condition, `out` has another suffix, or the port is in use.
        BundleError, DataError: see `load_review`.
    """
    out = out or runs[0] / CORRECTIONS
    if out.suffix.lower() != ".jsonl":
        raise UsageError(f"--out {out}: decisions are lines of JSON; give the file a name that ends in .jsonl")
    tasks: Sequence[Task] = select_tasks(context.settings.task_list(), task_names)
    review = load_review(runs, data, tasks, context)
    pictures = ReviewPictures(review, context)
    show = "query" if query else show
    views = {"suspects": "" if show == "mistakes" or query else _problem(review), "mistakes": "", "query": ""}
    if show == "suspects" and views["suspects"]:
        raise UsageError(views["suspects"])
    if not show and views["suspects"]:
        context.console.warn(f"{views['suspects']}. The worst mistakes are shown instead.")
    show = show or ("mistakes" if views["suspects"] else "suspects")
    if query:
        review.query(query)  # refused before the page opens

    log = DecisionLog(out)
    for note in log.notes:
        context.console.warn(note)
    if static is not None:
        found = review.cases(show, query)
        cases = _undecided(found, review, log)
        page, shown = static_page(review, cases, pictures, top, out.name)
        atomic.write_text(static, page)
        left_out = f", the first of {len(cases):,}; --top and --task choose others" if shown < len(cases) else ""
        decided = f" {len(found) - len(cases):,} are decided in {out}." if len(cases) < len(found) else ""
        text = f"{counted(shown, 'case')}{left_out}: {static}\nThe page downloads {out.name}.{decided}"
        result = {"page": str(static), "cases": shown, "found": len(cases), "decided": len(found) - len(cases)}
        context.console.done(result, text=text, next_step=apply_command(Path(out.name), review.data))
        return

    token = secrets.token_urlsafe(24)
    app = review_app(ReviewApi(review, log), pictures, review_page(review, str(out), views, show, query), token)
    with bind(port) as bound:
        address = f"http://{LOOPBACK}:{bound.getsockname()[1]}/{token}/"
        text = f"Open {address}\nDecisions go to {out}. Ctrl-C ends the review."
        result = {"address": address, "corrections": str(out), "photos": len(review.held_out.photos)}
        context.console.done(result, text=text, next_step=apply_command(out, review.data))
        context.console.flush()
        serve_until_stopped(app, bound)
    made = {line["entry"] for line in log.standing()}
    context.console.line(f"decisions in {out}: {len(made):,}")


def _undecided(cases: Sequence[Case], review: Review, log: DecisionLog) -> list[Case]:
    """The cases of which some label is not decided yet."""
    decided = {(line["task"], line["path"]) for line in log.standing()}
    photos = review.held_out.photos
    return [case for case in cases if any((case.task.name, photos[row].name) not in decided for row in case.rows)]


def _problem(review: Review) -> str:
    """Why there are no suspects to be had; empty if there are."""
    try:
        review.suspects()
    except UsageError as error:
        return str(error)
    return ""
