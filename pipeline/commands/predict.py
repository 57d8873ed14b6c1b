"""`faceline predict`: a row of predictions for every photo, from one bundle or an ensemble."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.checked_paths import BundlesOpt
from pipeline.commands.options import EVALUATE_CARRIES, SharedOptions, with_shared_options
from pipeline.commands.predict_options import Engine, Faces, Format, PredictOptions


@with_shared_options()
def predict(
    shared: SharedOptions,
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTOS...",
            help="Photos, folders, zip and tar archives, videos, camera:0, URLs, quoted patterns, .txt files with a "
            "path a line, - for paths on stdin; or one table, or one data set with an eval part.",
        ),
    ],
    bundle: BundlesOpt,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for predictions.csv; by default the next free one of predictions-N."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace predictions of other photos or by another bundle in --out.")
    ] = False,
    every: Annotated[int, typer.Option("--every", min=1, help="Of videos and cameras, predict every N-th frame.")] = 10,
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, help="Predict at most N frames of each video or camera.")
    ] = None,
    allow_network: Annotated[bool, typer.Option("--allow-network", help="Fetch photos that are URLs.")] = False,
    faces: Annotated[
        Faces | None,
        typer.Option(
            "--faces",
            help="all predicts every face of a photo, in a row each; given, the boxes of a table, also where each "
            "photo has one; subject, the face that the photo is about, which is the default.",
        ),
    ] = None,
    min_face: Annotated[
        float | None,
        typer.Option("--min-face", min=12, help="With --faces all, the smallest face, in pixels; 32 by default."),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option("--min-score", min=0.3, max=1, help="With --faces all, the detector's score; 0.7 by default."),
    ] = None,
    formats: Annotated[
        list[Format] | None,
        typer.Option(
            "--format",
            help="Write predictions.parquet or predictions.jsonl, too; parts leaves the folder parts instead of "
            "predictions.csv. May be repeated.",
        ),
    ] = None,
    draw: Annotated[
        Path | None,
        typer.Option("--draw", metavar="DIR", help="Write each photo with boxes, answers and bars into DIR."),
    ] = None,
    sort: Annotated[
        Path | None,
        typer.Option("--sort", metavar="DIR", help="Link to each photo in a folder per class below DIR."),
    ] = None,
    sort_by: Annotated[
        list[str] | None,
        typer.Option("--sort-by", metavar="TASK", help="With --sort, only this task's classes. May be repeated."),
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="With --sort, copy the photos instead of linking to them.")] = (
        False
    ),
    keep_crops: Annotated[
        bool,
        typer.Option("--keep-crops", help="Keep the crops in the cache; predicting the same photos again is faster."),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option("--shard", help="Only this share of the photos, of n that run apart.", metavar="I/N"),
    ] = None,
    engine: Annotated[
        Engine, typer.Option("--engine", help="local, or ray: on the Ray cluster that RAY_ADDRESS names.")
    ] = Engine.LOCAL,
    part_size: Annotated[
        int | None,
        typer.Option(
            "--part-size", min=1, help="Photos in a part, which is kept when a run is killed; 1024 by default."
        ),
    ] = None,
) -> None:
    """Predict every photo with a trained bundle, or with an ensemble of several."""
    from pipeline.commands.predict_plan import plan_prediction
    from pipeline.commands.predict_summary import show_summary
    from pipeline.intake.reading_report import show_reading
    from pipeline.intake.sources import SourceOptions

    # What is wrong with the call is said before torch is imported.
    context = shared.context()
    options = PredictOptions(
        photos=photos, bundle=bundle, out=out, overwrite=overwrite, faces=faces, min_face=min_face,
        min_score=min_score, formats=formats or (), draw=draw, sort=sort, sort_by=sort_by or (), copy=copy,
        keep_crops=keep_crops, shard=shard, engine=engine, part_size=part_size,
    )  # fmt: skip
    sources = SourceOptions(every, frames, allow_network, context.settings.data.max_megapixels)
    plan = plan_prediction(options, sources, context, shared.settings or (), no_cache=shared.no_cache)
    show_reading(plan.dataset, context.console)

    from pipeline.commands.predict_work import predict_as_planned
    from pipeline.prediction.prediction_record import PREDICTIONS

    done = predict_as_planned(options, plan, context, shared.workers)
    facts, notes, next_step = dict(done.facts), list(done.notes), ""
    if plan.shard is not None:
        facts["shard"] = str(plan.shard)
        notes.append(
            f"That was shard {plan.shard}. When all have run, a run without --shard makes predictions.csv of them."
        )
        next_step = shared.next_command("predict", *photos, *_words_of_the_join(options))
    elif done.place == plan.out / PREDICTIONS:
        next_step = shared.next_command("evaluate", done.place, "--truth", "ANSWERS.csv", carry=EVALUATE_CARRIES)
    if plan.shard is None and plan.dataset.submission_ids:
        submission, unreadable = plan.out / "submission.csv", done.record.counts["unreadable"]
        notes.append(f"Submission: {submission} ({unreadable} unreadable photos got the most frequent class)")
    show_summary(
        context.console, done.dataset, done.record, done.count, done.place, facts, notes, next_step,
        every_face=options.every_face,
    )  # fmt: skip


def _words_of_the_join(options: PredictOptions) -> list[object]:
    """The options with which the same command, without --shard, joins what all shards have predicted."""
    given = {
        "--bundle": options.bundle, "--out": [options.out], "--faces": [options.faces],
        "--min-face": [options.min_face], "--min-score": [options.min_score], "--part-size": [options.part_size],
        "--format": options.formats,
    }  # fmt: skip
    words = [word for name, values in given.items() for value in values if value is not None for word in (name, value)]
    return [*words, *["--keep-crops"] * options.keep_crops, *["--overwrite"] * options.overwrite]
