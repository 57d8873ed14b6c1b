"""One function per command that is a stage of its own: load, do, show.

The whole chain in one go is in `chain.py`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pipeline.chain import usable
from pipeline.check import check_data
from pipeline.console import cell
from pipeline.correcting import load_labelled
from pipeline.datasets import load_data
from pipeline.detection import Detection, detect_photos, source_ids
from pipeline.job import Job
from pipeline.photos import Dataset, Photo
from pipeline.shards import Shard

if TYPE_CHECKING:
    from pipeline.compare import Plan

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


def detect_stage(data: Path, job: Job, sheet: Path | None, *, retry: bool = False, shard: Shard | None = None) -> None:
    """`faceline detect`: crops in the cache, counts, and a sheet of what was missed."""
    dataset = usable(load_data(data, job.settings.task_list(), job.settings.data.columns))
    photos = [*dataset.train, *dataset.evaluation]
    if shard is None:
        _say_detected(data, dataset, photos, detect_photos(photos, job, retry=retry), job, sheet)
    else:
        photos = shard.photos(photos)
        detection = detect_photos(photos, job, retry=retry)
        _say_detected(data, dataset, photos, detection, job, sheet, {"shard": str(shard)})


def detect_on_ray_stage(
    data: Path, job: Job, sheet: Path | None, *, retry: bool = False, threads: int | None = None
) -> None:
    """`faceline detect --engine ray`: the same on a Ray cluster."""
    from pipeline.ray_engine import detect_on_cluster

    dataset = usable(load_data(data, job.settings.task_list(), job.settings.data.columns))
    photos = [*dataset.train, *dataset.evaluation]
    done = detect_on_cluster(photos, job, threads=threads, retry=retry)
    where = {"engine": "ray", "actors": done.actors, "nodes": done.nodes}
    _say_detected(data, dataset, photos, done.detection, job, sheet, where)


def _say_detected(
    data: Path,
    dataset: Dataset,
    photos: Sequence[Photo],
    detection: Detection,
    job: Job,
    sheet: Path | None,
    where: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """The last word of a detection; `where` says on what machines, or which share of the photos."""
    summary = {**detection.summary(photos), **where}
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
    if "engine" in where:
        text += f"\n{cell(where['actors'])} actors on {cell(where['nodes'])} machines made the units."
    next_step = f"faceline train {data}" if dataset.train else f"faceline predict {data} --bundle RUN/bundle"
    if "shard" in where:
        text += (
            f"\nThat was shard {where['shard']}. When all have run, a run without --shard makes what one left undone."
        )
        next_step = f"faceline detect {data}"
    job.show.done(summary, text=text, next_step=next_step)


def preview_stage(data: Path, run: Path, job: Job) -> None:
    """`faceline train --preview`: what each class is trained on, in numbers and pictures."""
    from pipeline.preview import write_previews

    dataset = usable(load_labelled(data, job.settings))
    paths = write_previews(dataset.train, detect_photos(dataset.train, job), run, job)
    text = "\n".join(f"Preview: {path}" for path in paths)
    job.show.done({"previews": [str(path) for path in paths]}, text=text, next_step=f"faceline train {data}")


def predict_stage(photos: Path, bundles: Sequence[Path], out: Path, job: Job) -> None:
    """`faceline predict`: predictions.csv, and submission.csv where an info.csv asks for one."""
    from classify.voters import load_voters
    from pipeline.predicting import predict_photos, write_predictions

    voters = load_voters(bundles)
    dataset = usable(load_data(photos, (), job.settings.data.columns))  # no tasks: labels are not looked at
    wanted = dataset.evaluation or dataset.train
    predictions = predict_photos(wanted, voters, job)
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


def compare_stage(plan: "Plan", job: Job) -> None:
    """`faceline compare`: train what is not trained yet, and show how the configurations stand."""
    from pipeline.compare import train_plan
    from pipeline.standings import Comparison, gather, write_comparison

    def after_round(done: int) -> None:
        if done < len(plan.rounds()) and (done <= len(plan.held_out) or done % len(plan.held_out) == 0):
            show(gather(plan, done), remark=True)

    def show(comparison: Comparison, *, remark: bool) -> None:
        write_comparison(comparison)
        if remark:
            job.show.line(f"So far: {comparison.sentence()}")
        for title, columns, rows in comparison.tables():
            job.show.table(title, columns, rows, remark=remark)

    train_plan(plan, job, after_round)
    comparison = gather(plan, len(plan.rounds()))
    show(comparison, remark=False)
    for warning in comparison.warnings():
        job.show.warn(warning)
    text = f"{comparison.sentence()}.\nComparison: {plan.out / 'compare.md'}, compare.json"
    job.show.done(comparison.as_json(), text=text)


def evaluate_stage(pred: Path, truth: Path, job: Job) -> None:
    """`faceline evaluate`: scores with intervals, and the confusion matrix of every task."""
    from pipeline.evaluation import evaluate

    result = evaluate(pred, truth, job.settings.task_list())
    job.show.scores(result.scores, "Scores")
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
