"""`faceline predict`: a row of predictions for every photo, from one bundle or an ensemble."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cache.errors import UsageError
from cache.sources import split_part
from pipeline.commands.checked_paths import BundlesOpt
from pipeline.commands.options import EVALUATE_CARRIES, SharedOptions, with_shared_options

if TYPE_CHECKING:
    from pipeline.prediction.prediction import Prediction


class Faces(StrEnum):
    """The values of --faces."""

    SUBJECT = "subject"
    ALL = "all"
    GIVEN = "given"


class Format(StrEnum):
    """The values of --format."""

    CSV = "csv"
    PARQUET = "parquet"
    JSONL = "jsonl"


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
        typer.Option("--format", help="Write predictions.parquet or predictions.jsonl, too. May be repeated."),
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
) -> None:
    """Predict every photo with a trained bundle, or with an ensemble of several."""
    from pipeline.detection.unreadable import in_words
    from pipeline.intake.load import load_data
    from pipeline.intake.photo_inputs import load_inputs
    from pipeline.intake.reading_report import reading_json, show_reading
    from pipeline.intake.sources import OpenedSources, SourceOptions, check_sources, names_inside
    from pipeline.prediction.output_folder import next_free_folder, refuse_overwriting, refuse_used_folder
    from pipeline.prediction.predict_settings import refuse_training_settings, with_predict_settings

    # What is wrong with the call is said before torch is imported.
    context = shared.context()
    every_face = faces is Faces.ALL
    _refuse_idle("--faces all", {"--min-face": min_face, "--min-score": min_score}, is_given=every_face)
    _refuse_idle("--sort DIR", {"--sort-by": sort_by, "--copy": copy or None}, is_given=sort is not None)
    if keep_crops and every_face:
        raise UsageError("--keep-crops keeps the crops of photos' subjects; leave it out with --faces all")
    for folder, option in ((draw, "--draw"), (sort, "--sort")):
        if folder is not None:
            refuse_used_folder(folder, option)
    # Neither labels nor people are read, so a table needs no column but that of the paths.
    columns = {what: name for what, name in context.settings.data.columns.items() if what == "path"}
    changed: dict[str, object] = {"columns": columns}
    if faces is not None:
        changed["boxes"] = "given" if faces is Faces.GIVEN else "ignored"
    config = context.settings.data.model_copy(update=changed)
    dataset = load_inputs(photos, lambda path: load_data(path, (), config))
    options = SourceOptions(every, frames, allow_network, context.settings.data.max_megapixels)
    selected = dataset.evaluation or dataset.train
    check_sources(selected, options)
    if faces is Faces.GIVEN and not any(split_part(photo.path)[1] for photo in selected):
        raise UsageError("--faces given takes the faces' boxes from a table; name one with the columns x1, y1, x2, y2")
    if every_face and dataset.submission_ids:
        raise UsageError("a submission has a row for each photo, so --faces all can't fill it in; leave --faces out")
    refuse_training_settings(shared.settings or (), bundle)
    if out is None:
        out = next_free_folder()
    elif not overwrite:
        names, submission = [photo.name for photo in selected], bool(dataset.submission_ids)
        inside = names_inside(selected)
        refuse_overwriting(out, names, bundle, submission=submission, inside=inside, each_face=every_face)
    show_reading(dataset, context.console)

    from classify.inference.ensemble import load_ensemble
    from detect.every_face import MIN_FACE, MIN_SCORE
    from pipeline.prediction.every_face import FaceSearch
    from pipeline.prediction.picture_files import DrawnPictures, SortedPhotos
    from pipeline.prediction.predict import warn_of_dropped_factors, write_predictions
    from pipeline.prediction.predict_sources import predict_sources

    ensemble = with_predict_settings(load_ensemble(bundle), context.settings.predict, context.console)
    warn_of_dropped_factors(ensemble, context.console)
    sources = OpenedSources(options)
    search = FaceSearch(min_face or MIN_FACE, min_score or MIN_SCORE) if every_face else None
    pictures = DrawnPictures(draw, context.workers) if draw is not None else None
    tasks = [task.name for task in ensemble.tasks]
    if unknown := set(sort_by or ()) - set(tasks):
        raise UsageError(f"--sort-by {min(unknown)}: the bundle predicts {', '.join(tasks)}")
    sorted_photos = SortedPhotos(sort, sort_by or tasks, copy=copy) if sort is not None else None

    def write_files(batch: "Sequence[Prediction]") -> None:
        for writer in (pictures, sorted_photos):
            if writer is not None:
                writer.add(batch)

    predictions = predict_sources(
        selected, sources, ensemble, context, search=search, on_batch=write_files, keep_crops=keep_crops
    )
    write_predictions(predictions, out, dataset.submission_ids, [item.value for item in formats or ()])
    dataset = sources.added_to(dataset)

    table = out / "predictions.csv"
    counts = ", ".join(f"{count} {status}" for status, count in predictions.counts.items())
    reasons = f" ({in_words(predictions.record.reasons)})" if predictions.record.reasons else ""
    rows = len(predictions.table)
    count = rows if search is None else predictions.table["photo"].n_unique()
    what = f"{count} photos" if search is None else f"{rows} rows for {count} photos"
    text = f"{what}: {counts}{reasons}\nPredictions: {table}"
    files: dict[str, object] = {}
    if pictures is not None:
        text += f"\nPictures: {pictures.written} in {draw}"
        files["pictures"] = pictures.written
    if sorted_photos is not None:
        text += f"\nSorted: {sorted_photos.counts.total()} of {rows} in {sort}"
        files["sorted"] = dict(sorted_photos.counts)
    if dataset.submission_ids:
        unreadable = predictions.counts["unreadable"]
        text += f"\nSubmission: {out / 'submission.csv'} ({unreadable} unreadable photos got the most frequent class)"
    trained_on = predictions.record.trained_on
    if trained_on:
        text += f"\nThe networks were trained on {trained_on} of these photos: column trained_on"
    record = {
        "photos": count, "rows": rows, **files, **predictions.counts, "reasons": dict(predictions.record.reasons),
        "predictions": str(table), "trained_on": trained_on, "settings": dict(predictions.record.settings),
        **reading_json(dataset),
    }  # fmt: skip
    next_step = shared.next_command("evaluate", table, "--truth", "ANSWERS.csv", carry=EVALUATE_CARRIES)
    context.console.done(record, text=text, next_step=next_step)


def _refuse_idle(option: str, parts: Mapping[str, object], *, is_given: bool) -> None:
    """Refuse options that have an effect only together with another one."""
    for name, value in parts.items():
        if value is not None and not is_given:
            raise UsageError(f"{name} has a part only in {option}; add that, or leave {name} out")
