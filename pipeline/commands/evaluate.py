"""`faceline evaluate`: scores with intervals, and the confusion matrix of every task."""

from pipeline.commands.checked_paths import PredictionsArg, TruthOpt
from pipeline.commands.options import SharedOptions, with_shared_options


@with_shared_options("config", "settings", "json", "quiet")
def evaluate(
    shared: SharedOptions,
    pred: PredictionsArg,
    truth: TruthOpt,
) -> None:
    """Score predictions: macro-F1 and accuracy, per task and joint, with 95% intervals over people."""
    from pipeline.console import cell, counted
    from pipeline.evaluation import score_predictions
    from pipeline.evaluation.scored_tasks import scored_tasks
    from pipeline.settings import given_settings

    context = shared.context()
    given = given_settings(shared.config, shared.settings or ())
    tasks, source = scored_tasks(pred, context.settings, given.get("tasks") or {})
    context.console.line(source)
    result = score_predictions.evaluate(pred, truth, tasks, context.settings.data.columns)
    context.console.scores(result.scores, "Scores")
    for name, classes in result.classes.items():
        if name == "joint":
            continue  # 18 x 18 does not fit a terminal; the report has it
        columns = [f"{name}: true, predicted", *classes, "no answer"]
        rows = [[label, *map(int, row)] for label, row in zip(classes, result.scores[name].confusion, strict=True)]
        context.console.table("", columns, rows)
    for remark in result.remarks:
        context.console.line(remark)
    if result.warning:
        context.console.warn(result.warning)

    record = {name: score.as_json() | {"confusion": score.confusion.tolist()} for name, score in result.scores.items()}
    counts = {
        "photos": result.photos, "matched": result.matched, "unanswered": result.unanswered,
        "trained_on": result.trained_on,
    }  # fmt: skip
    remarks = [*result.remarks, *filter(None, [result.warning])]
    text = (
        f"{counted(result.photos, 'photo')} scored: {cell(result.matched)} matched, "
        f"{cell(result.unanswered)} unanswered (counted as wrong)."
    )
    context.console.done({**record, **counts, "remarks": remarks}, text=text)
