"""`faceline run`: the whole chain, from photos and labels to predictions and a report."""

from pipeline.commands.options import DataArg, RunOpt, SharedOptions, run_folder, with_shared_options


@with_shared_options()
def run(shared: SharedOptions, data: DataArg, out: RunOpt = None) -> None:
    """Check, detect, split, train, evaluate, predict DATA's eval part, report."""
    from pipeline.chain import run_chain
    from pipeline.context import with_ranks

    context = with_ranks(shared.context())
    folder = run_folder(out, data, context)
    finished = run_chain(data, folder, context)
    context.console.scores(finished.scores, "Scores on the held-out fold")
    counts = ", ".join(f"{count} {status}" for status, count in finished.counts.items())
    timings = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in finished.seconds.items())
    text = f"Predictions: {counts}\nTime: {timings}\nReport: {folder / 'report.html'}"
    next_step = f"faceline evaluate {folder / 'predictions.csv'} --truth ANSWERS.csv"
    context.console.done(finished.as_json(), text=text, next_step=next_step)
