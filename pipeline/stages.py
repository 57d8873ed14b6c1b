"""One function per command that is a stage of its own: load, do, show.

The whole chain in one go is in `chain.py`.
"""

from pathlib import Path

from pipeline.chain import usable
from pipeline.check import check_data
from pipeline.console import cell
from pipeline.correcting import load_labelled
from pipeline.datasets import load_data
from pipeline.detection import detect_photos, source_ids
from pipeline.job import Job

SHOWN_DEFECTS = 20


def check_stage(data: Path, job: Job) -> bool:
    """`faceline check`: counts and defects. True when something fatal is among them."""
    from detect.decode import why_unreadable

    tasks = job.settings.task_list()
    dataset = load_labelled(data, job.settings)
    digests = source_ids([photo.path for photo in (*dataset.train, *dataset.evaluation)], job)
    checked = check_data(dataset, tasks, decode=why_unreadable, digests=digests)
    for title, columns, rows in checked.tables():
        job.show.table(title, columns, rows)
    for one in dataset.corrections:
        job.show.line(f"{one.file}: {one.text()}")
    shown = checked.defects[:SHOWN_DEFECTS]
    rows = [
        [defect.kind + (" (fatal)" if defect.fatal else ""), f"{defect.where}: {defect.message}"] for defect in shown
    ]
    if rows:
        job.show.table("Defects", ["kind", "what"], rows)
    fatal = sum(defect.fatal for defect in checked.defects)
    more = f", the first {len(shown)} shown (all with --json)" if len(shown) < len(checked.defects) else ""
    text = f"{cell(len(checked.defects))} defects, {cell(fatal)} fatal{more}."
    told = checked.as_json() | {"corrections": [one.as_json() for one in dataset.corrections]}
    job.show.done(told, text=text, next_step=f"faceline {'check' if fatal else 'detect'} {data}")
    return bool(fatal)


def detect_stage(data: Path, job: Job, sheet: Path | None, *, retry: bool = False) -> None:
    """`faceline detect`: crops in the cache, counts, and a sheet of what was missed."""
    dataset = usable(load_data(data, job.settings.task_list(), job.settings.data.columns))
    photos = [*dataset.train, *dataset.evaluation]
    detection = detect_photos(photos, job, retry=retry)
    summary = detection.summary(photos)
    if sheet is not None:
        from pipeline.sheets import missed_sheet

        missed_sheet(photos, detection, sheet)
        summary["sheet"] = str(sheet)
    if detection.cut:
        job.show.table("Found by", ["step", "photos"], [[k, v] for k, v in summary["found_by"].items()])
        waiting = ", ".join(f"{stage} {share:.0%}" for stage, share in detection.waiting.items())
        done = f"{cell(detection.detected)} photos detected, {cell(detection.cut)} cropped"
        text = f"{done} in {detection.seconds:.1f} s (waited for {waiting})"
    else:
        text = f"Nothing to do: the crops of all {cell(len(photos))} photos are in the cache"
    text += f", {summary['unreadable']} unreadable, {summary['photos_per_s']:.0f} photos a second."
    next_step = f"faceline train {data}" if dataset.train else f"faceline predict {data} --bundle RUN/bundle"
    job.show.done(summary, text=text, next_step=next_step)


def predict_stage(photos: Path, bundle: Path, out: Path, job: Job) -> None:
    """`faceline predict`: predictions.csv, and submission.csv where an info.csv asks for one."""
    from classify.bundle import load_bundle
    from pipeline.predicting import predict_photos, write_predictions

    loaded = load_bundle(bundle)
    dataset = usable(load_data(photos, (), job.settings.data.columns))  # no tasks: labels are not looked at
    wanted = dataset.evaluation or dataset.train
    predictions = predict_photos(wanted, loaded, job)
    write_predictions(predictions, out, dataset.asked)
    told = ", ".join(f"{count} {status}" for status, count in predictions.counts.items())
    guessed = predictions.counts["unreadable"] if dataset.asked else 0
    text = f"{len(wanted)} photos: {told}\nPredictions: {out / 'predictions.csv'}"
    if dataset.asked:
        text += f"\nSubmission: {out / 'submission.csv'} ({guessed} unreadable photos got the most frequent class)"
    job.show.done(
        {"photos": len(wanted), **predictions.counts, "predictions": str(out / "predictions.csv")},
        text=text,
        next_step=f"faceline evaluate {out / 'predictions.csv'} --truth ANSWERS.csv",
    )


def evaluate_stage(pred: Path, truth: Path, job: Job) -> None:
    """`faceline evaluate`: scores with intervals, and the confusion matrix of every task."""
    from pipeline.evaluation import evaluate

    result = evaluate(pred, truth, job.settings.task_list())
    rows = [
        [name, one.macro_f1, f"{one.low:.3f} to {one.high:.3f}", one.accuracy] for name, one in result.scores.items()
    ]
    job.show.table("Scores", ["", "macro-F1", "95% interval", "accuracy"], rows)
    for name, classes in result.classes.items():
        if name == "joint":
            continue  # 18 x 18 does not fit a terminal; the report has it
        confusion = result.scores[name].confusion
        columns = [f"{name}: true, told", *classes, "no answer"]
        job.show.table("", columns, [[c, *map(int, row)] for c, row in zip(classes, confusion, strict=True)])
    text = (
        f"{cell(result.photos)} photos scored, {cell(result.unanswered)} of them without an answer (counted as wrong)."
    )
    figures = {name: one.as_json() | {"confusion": one.confusion.tolist()} for name, one in result.scores.items()}
    job.show.done({**figures, "photos": result.photos, "unanswered": result.unanswered}, text=text)
