"""`faceline predict`: a row of predictions for every photo, from one bundle or an ensemble."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.checked_paths import BundlesOpt
from pipeline.commands.options import EVALUATE_CARRIES, SharedOptions, with_shared_options


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
    keep_crops: Annotated[
        bool,
        typer.Option("--keep-crops", help="Keep the crops in the cache; predicting the same photos again is faster."),
    ] = False,
) -> None:
    """Predict every photo with a trained bundle, or with an ensemble of several."""
    from pipeline.detection.unreadable import in_words
    from pipeline.intake.load import load_data
    from pipeline.intake.photo_inputs import load_inputs
    from pipeline.intake.reading_report import reading_json, show_reading
    from pipeline.intake.sources import OpenedSources, SourceOptions, check_sources, names_inside
    from pipeline.prediction.output_folder import next_free_folder, refuse_overwriting
    from pipeline.prediction.predict_settings import refuse_training_settings, with_predict_settings

    # What is wrong with the call is said before torch is imported.
    context = shared.context()
    # Neither labels nor people are read, so a table needs no column but that of the paths.
    columns = {what: name for what, name in context.settings.data.columns.items() if what == "path"}
    config = context.settings.data.model_copy(update={"columns": columns})
    dataset = load_inputs(photos, lambda path: load_data(path, (), config))
    options = SourceOptions(every, frames, allow_network, context.settings.data.max_megapixels)
    selected = dataset.evaluation or dataset.train
    check_sources(selected, options)
    refuse_training_settings(shared.settings or (), bundle)
    if out is None:
        out = next_free_folder()
    elif not overwrite:
        names, submission = [photo.name for photo in selected], bool(dataset.submission_ids)
        refuse_overwriting(out, names, bundle, submission=submission, inside=names_inside(selected))
    show_reading(dataset, context.console)

    from classify.inference.ensemble import load_ensemble
    from pipeline.prediction.predict import warn_of_dropped_factors, write_predictions
    from pipeline.prediction.predict_sources import predict_sources

    ensemble = with_predict_settings(load_ensemble(bundle), context.settings.predict, context.console)
    warn_of_dropped_factors(ensemble, context.console)
    sources = OpenedSources(options)
    predictions = predict_sources(selected, sources, ensemble, context, keep_crops=keep_crops)
    write_predictions(predictions, out, dataset.submission_ids)
    dataset = sources.added_to(dataset)

    table = out / "predictions.csv"
    counts = ", ".join(f"{count} {status}" for status, count in predictions.counts.items())
    reasons = f" ({in_words(predictions.record.reasons)})" if predictions.record.reasons else ""
    text = f"{len(predictions.table)} photos: {counts}{reasons}\nPredictions: {table}"
    if dataset.submission_ids:
        unreadable = predictions.counts["unreadable"]
        text += f"\nSubmission: {out / 'submission.csv'} ({unreadable} unreadable photos got the most frequent class)"
    trained_on = predictions.record.trained_on
    if trained_on:
        text += f"\nThe networks were trained on {trained_on} of these photos: column trained_on"
    record = {
        "photos": len(predictions.table), **predictions.counts, "reasons": dict(predictions.record.reasons),
        "predictions": str(table), "trained_on": trained_on, "settings": dict(predictions.record.settings),
        **reading_json(dataset),
    }  # fmt: skip
    next_step = shared.next_command("evaluate", table, "--truth", "ANSWERS.csv", carry=EVALUATE_CARRIES)
    context.console.done(record, text=text, next_step=next_step)
