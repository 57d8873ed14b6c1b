"""One function per command that is a stage of its own: load, do, show.

The whole chain in one go is in `chain.py`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pipeline.console import cell
from pipeline.context import RunContext
from pipeline.detection.detect import Detection, detect_photos, source_ids
from pipeline.detection.shards import Shard
from pipeline.intake.check import check_data
from pipeline.intake.corrections import load_labelled
from pipeline.intake.load import load_data
from pipeline.intake.photo import Dataset, Photo

if TYPE_CHECKING:
    from pipeline.experiments.compare import Plan

SHOWN_DEFECTS = 20


def check_stage(data: Path, context: RunContext) -> bool:
    """`faceline check`: counts and defects. True when something fatal is among them."""
    from detect.decode import why_unreadable

    tasks = context.settings.task_list()
    dataset = load_labelled(data, context.settings)
    digests = source_ids([photo.path for photo in (*dataset.train, *dataset.evaluation)], context)
    checked = check_data(dataset, tasks, decode=why_unreadable, digests=digests)
    for title, columns, rows in checked.tables():
        context.console.table(title, columns, rows)
    for one in dataset.corrections:
        context.console.line(f"{one.file}: {one.text()}")
    shown = checked.defects[:SHOWN_DEFECTS]
    rows = [
        [defect.kind + (" (fatal)" if defect.fatal else ""), f"{defect.where}: {defect.message}"] for defect in shown
    ]
    if rows:
        context.console.table("Defects", ["kind", "what"], rows)
    fatal = sum(defect.fatal for defect in checked.defects)
    more = f", the first {len(shown)} shown (all with --json)" if len(shown) < len(checked.defects) else ""
    text = f"{cell(len(checked.defects))} defects, {cell(fatal)} fatal{more}."
    told = checked.as_json() | {"corrections": [one.as_json() for one in dataset.corrections]}
    context.console.done(told, text=text, next_step=f"faceline {'check' if fatal else 'detect'} {data}")
    return bool(fatal)


def detect_stage(
    data: Path, context: RunContext, sheet: Path | None, *, retry: bool = False, shard: Shard | None = None
) -> None:
    """`faceline detect`: crops in the cache, counts, and a sheet of what was missed."""
    dataset = load_data(data, context.settings.task_list(), context.settings.data.columns).require_usable()
    photos = [*dataset.train, *dataset.evaluation]
    if shard is None:
        _say_detected(data, dataset, photos, detect_photos(photos, context, retry=retry), context, sheet)
    else:
        photos = shard.photos(photos)
        detection = detect_photos(photos, context, retry=retry)
        _say_detected(data, dataset, photos, detection, context, sheet, {"shard": str(shard)})


def detect_on_ray_stage(
    data: Path, context: RunContext, sheet: Path | None, *, retry: bool = False, threads: int | None = None
) -> None:
    """`faceline detect --engine ray`: the same on a Ray cluster."""
    from pipeline.detection.ray_driver import detect_on_cluster

    dataset = load_data(data, context.settings.task_list(), context.settings.data.columns).require_usable()
    photos = [*dataset.train, *dataset.evaluation]
    done = detect_on_cluster(photos, context, threads=threads, retry=retry)
    where = {"engine": "ray", "actors": done.actors, "nodes": done.nodes}
    _say_detected(data, dataset, photos, done.detection, context, sheet, where)


def _say_detected(
    data: Path,
    dataset: Dataset,
    photos: Sequence[Photo],
    detection: Detection,
    context: RunContext,
    sheet: Path | None,
    where: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """The last word of a detection; `where` says on what machines, or which share of the photos."""
    summary = {**detection.summary(photos), **where}
    if sheet is not None:
        from pipeline.reports.contact_sheets import missed_sheet

        missed_sheet(photos, detection, sheet)
        summary["sheet"] = str(sheet)
    if detection.cut:
        context.console.table("Found by", ["step", "photos"], [[k, v] for k, v in summary["found_by"].items()])
        waiting = ", ".join(f"{stage} {share:.0%}" for stage, share in detection.waiting.items())
        done = f"{cell(detection.detected)} photos detected, {cell(detection.cut)} cropped"
        text = f"{done} in {detection.seconds:.1f} s (waited for {waiting})"
    else:
        text = f"Nothing to do: the crops of all {cell(len(photos))} photos are in the cache"
    text += f", {summary['unreadable']} unreadable, {summary['photos_per_s']:.0f} photos a second."
    if "engine" in where:
        text += f"\n{cell(where['actors'])} actors on {cell(where['nodes'])} machines made the units."
    next_step = f"faceline train {data}" if dataset.train else f"faceline predict {data} --bundle RUN/bundle"
    if "shard" in where:
        text += (
            f"\nThat was shard {where['shard']}. When all have run, a run without --shard makes what one left undone."
        )
        next_step = f"faceline detect {data}"
    context.console.done(summary, text=text, next_step=next_step)


def preview_stage(data: Path, run: Path, context: RunContext) -> None:
    """`faceline train --preview`: what each class is trained on, in numbers and pictures."""
    from pipeline.reports.augmentation_preview import write_previews

    dataset = load_labelled(data, context.settings).require_usable()
    paths = write_previews(dataset.train, detect_photos(dataset.train, context), run, context)
    text = "\n".join(f"Preview: {path}" for path in paths)
    context.console.done({"previews": [str(path) for path in paths]}, text=text, next_step=f"faceline train {data}")


def predict_stage(photos: Path, bundles: Sequence[Path], out: Path, context: RunContext) -> None:
    """`faceline predict`: predictions.csv, and submission.csv where an info.csv asks for one."""
    from classify.inference.ensemble import load_ensemble
    from pipeline.prediction.predict import predict_photos, write_predictions

    ensemble = load_ensemble(bundles)
    dataset = load_data(
        photos, (), context.settings.data.columns
    ).require_usable()  # no tasks: labels are not looked at
    wanted = dataset.evaluation or dataset.train
    predictions = predict_photos(wanted, ensemble, context)
    write_predictions(predictions, out, dataset.submission_ids)
    told = ", ".join(f"{count} {status}" for status, count in predictions.counts.items())
    guessed = predictions.counts["unreadable"] if dataset.submission_ids else 0
    text = f"{len(wanted)} photos: {told}\nPredictions: {out / 'predictions.csv'}"
    if dataset.submission_ids:
        text += f"\nSubmission: {out / 'submission.csv'} ({guessed} unreadable photos got the most frequent class)"
    context.console.done(
        {"photos": len(wanted), **predictions.counts, "predictions": str(out / "predictions.csv")},
        text=text,
        next_step=f"faceline evaluate {out / 'predictions.csv'} --truth ANSWERS.csv",
    )


def compare_stage(plan: "Plan", context: RunContext) -> None:
    """`faceline compare`: train what is not trained yet, and show how the configurations stand."""
    from pipeline.experiments.compare import train_plan
    from pipeline.experiments.results import Comparison, gather, write_comparison

    def after_round(done: int) -> None:
        if done < len(plan.rounds()) and (done <= len(plan.held_out) or done % len(plan.held_out) == 0):
            show(gather(plan, done), remark=True)

    def show(comparison: Comparison, *, remark: bool) -> None:
        write_comparison(comparison)
        if remark:
            context.console.line(f"So far: {comparison.sentence()}")
        for title, columns, rows in comparison.tables():
            context.console.table(title, columns, rows, remark=remark)

    train_plan(plan, context, after_round)
    comparison = gather(plan, len(plan.rounds()))
    show(comparison, remark=False)
    for warning in comparison.warnings():
        context.console.warn(warning)
    text = f"{comparison.sentence()}.\nComparison: {plan.out / 'compare.md'}, compare.json"
    context.console.done(comparison.as_json(), text=text)


def evaluate_stage(pred: Path, truth: Path, context: RunContext) -> None:
    """`faceline evaluate`: scores with intervals, and the confusion matrix of every task."""
    from pipeline.evaluation.score_predictions import evaluate

    result = evaluate(pred, truth, context.settings.task_list())
    context.console.scores(result.scores, "Scores")
    for name, classes in result.classes.items():
        if name == "joint":
            continue  # 18 x 18 does not fit a terminal; the report has it
        confusion = result.scores[name].confusion
        columns = [f"{name}: true, told", *classes, "no answer"]
        context.console.table("", columns, [[c, *map(int, row)] for c, row in zip(classes, confusion, strict=True)])
    text = (
        f"{cell(result.photos)} photos scored, {cell(result.unanswered)} of them without an answer (counted as wrong)."
    )
    figures = {name: one.as_json() | {"confusion": one.confusion.tolist()} for name, one in result.scores.items()}
    context.console.done({**figures, "photos": result.photos, "unanswered": result.unanswered}, text=text)
