"""`faceline run`: the whole chain, from photos and labels to predictions and a report."""

from pipeline.commands.checked_paths import DataArg
from pipeline.commands.options import (
    EVALUATE_CARRIES,
    PREDICT_CARRIES,
    RunOpt,
    SharedOptions,
    run_folder,
    with_shared_options,
)


@with_shared_options()
def run(shared: SharedOptions, data: DataArg, out: RunOpt = None) -> None:
    """Check, detect, split, train, evaluate, predict DATA's eval part, report."""
    from pipeline.chain import run_chain
    from pipeline.context import with_ranks
    from pipeline.training.score_notes import final_notes

    context = with_ranks(shared.context())
    folder = run_folder(out, data, context)
    finished = run_chain(data, folder, context)
    context.console.scores(finished.scores, "Scores on the held-out fold", final_notes(context.settings))
    counts = ", ".join(f"{count} {status}" for status, count in finished.counts.items())
    timings = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in finished.seconds.items())
    text = f"Predictions: {counts}\nTime: {timings}\nReport: {folder / 'report.html'}"

    from pipeline.prediction.prediction_record import PREDICTIONS, read_record

    table = folder / PREDICTIONS
    next_step = shared.next_command("evaluate", table, "--truth", "ANSWERS.csv", carry=EVALUATE_CARRIES)
    record = read_record(table)
    trained_on = None if record is None else record.trained_on
    if trained_on:
        text += (
            f"\n{trained_on} of the predicted photos were trained on (column trained_on): their score would not be one "
            "of new photos."
        )
        next_step = shared.next_command("predict", "PHOTOS", "--bundle", folder / "bundle", carry=PREDICT_CARRIES)
    if (folder / "validation.csv").is_file():
        text += f"\nDoubtful labels: {shared.next_command('review', folder, carry=('cache', 'workers'))}"
    context.console.done({**finished.as_json(), "trained_on": trained_on}, text=text, next_step=next_step)
