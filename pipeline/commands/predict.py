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
    from pipeline.detection.shards import Shard
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
    PARTS = "parts"


class Engine(StrEnum):
    """The values of --engine."""

    LOCAL = "local"
    RAY = "ray"


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
    from pipeline.commands.predict_summary import show_summary
    from pipeline.intake.load import load_data
    from pipeline.intake.photo_inputs import load_inputs
    from pipeline.intake.reading_report import show_reading
    from pipeline.intake.sources import OpenedSources, SourceOptions, check_sources, names_inside, not_in_a_file
    from pipeline.prediction.output_folder import next_free_folder, refuse_overwriting, refuse_used_folder
    from pipeline.prediction.part_store import PartStore, plan_parts, refuse_other_parts
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
    part = _part(shard, out, on_ray=engine is Engine.RAY, no_cache=shared.no_cache)
    chosen = [item.value for item in formats or ()]
    dividing = {"--shard": part, "--engine ray": engine is Engine.RAY, "--part-size": part_size,
                "--format parts": "parts" in chosen}  # fmt: skip
    divided_by = next((option for option, value in dividing.items() if value), "")
    if divided_by and (draw is not None or sort is not None):
        raise UsageError(f"--draw and --sort are for photos that are predicted in one go; leave out {divided_by}")
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
    plan = None
    if not (elsewhere := not_in_a_file(selected)):
        which = {"faces": faces, "min_face": min_face, "min_score": min_score}
        plan = plan_parts(selected, bundle, context.settings, which, out=out, size=part_size)
    elif divided_by:
        raise UsageError(f"{divided_by} is for photos in files, and {elsewhere} is none; unpack or download it first")

    def is_unfinished(folder: Path) -> bool:
        return plan is not None and PartStore(folder, plan).is_unfinished()

    if out is None:
        out = next_free_folder(is_unfinished)
    elif not overwrite:
        names, submission = [photo.name for photo in selected], bool(dataset.submission_ids)
        inside = names_inside(selected)
        refuse_overwriting(
            out, names, bundle, submission=submission, inside=inside, each_face=every_face,
            is_unfinished=is_unfinished(out),
        )  # fmt: skip
    refuse_other_parts(out, plan, overwrite=overwrite)
    show_reading(dataset, context.console)

    from classify.inference.ensemble import load_ensemble
    from detect.every_face import MIN_FACE, MIN_SCORE
    from pipeline.prediction.every_face import FaceSearch
    from pipeline.prediction.picture_files import DrawnPictures, SortedPhotos
    from pipeline.prediction.predict import warn_of_dropped_factors, warn_of_precision
    from pipeline.prediction.predict_parts import Cluster, predict_parts, write_parts
    from pipeline.prediction.predict_sources import SourcePredictor
    from pipeline.prediction.prediction_files import write_predictions

    ensemble = with_predict_settings(load_ensemble(bundle), context.settings.predict, context.console)
    warn_of_dropped_factors(ensemble, context.console)
    warn_of_precision(context)
    search = FaceSearch(min_face or MIN_FACE, min_score or MIN_SCORE) if every_face else None
    pictures = DrawnPictures(draw, context.workers) if draw is not None else None
    tasks = [task.name for task in ensemble.tasks]
    if unknown := set(sort_by or ()) - set(tasks):
        raise UsageError(f"--sort-by {min(unknown)}: the bundle predicts {', '.join(tasks)}")
    sorted_photos = SortedPhotos(sort, sort_by or tasks, copy=copy) if sort is not None else None
    facts: dict[str, object] = {}
    notes: list[str] = []
    place = table = out / "predictions.csv"

    store = None if plan is None or pictures or sorted_photos else PartStore(out, plan)
    if plan and store and (divided_by or plan.count > 1 or store.has_any()):
        # In parts
        cluster = Cluster(bundle, shared.workers) if engine is Engine.RAY else None
        parts = predict_parts(
            plan, store, ensemble, context, search=search, keep_crops=keep_crops, shard=part, cluster=cluster
        )
        record, count = parts.record, parts.photos
        facts |= {"predicted_now": parts.predicted, **parts.machines}
        if parts.predicted < count:
            notes.append(f"{parts.predicted:,} photos were predicted now, and {count - parts.predicted:,} before.")
        if part is None:
            fallback = ensemble.bundles[0].most_frequent
            write_parts(parts, store, out, chosen, submission_ids=dataset.submission_ids, fallback_class=fallback)
        if part is not None or "parts" in chosen:
            place = store.folder
    else:
        # In one go
        def write_files(batch: "Sequence[Prediction]") -> None:
            for writer in (pictures, sorted_photos):
                if writer is not None:
                    writer.add(batch)

        sources = OpenedSources(options)
        predictor = SourcePredictor(ensemble, context, search=search, keep_crops=keep_crops)
        predictions = predictor.predict(selected, sources, write_files)
        write_predictions(predictions, out, dataset.submission_ids, chosen)
        dataset = sources.added_to(dataset)
        record = predictions.record
        count = len(predictions.table) if search is None else predictions.table["photo"].n_unique()

    if pictures is not None:
        notes.append(f"Pictures: {pictures.written} in {draw}")
        facts["pictures"] = pictures.written
    if sorted_photos is not None:
        notes.append(f"Sorted: {sorted_photos.counts.total()} of {sum(record.counts.values())} in {sort}")
        facts["sorted"] = dict(sorted_photos.counts)
    next_step = ""
    if place == table:
        next_step = shared.next_command("evaluate", table, "--truth", "ANSWERS.csv", carry=EVALUATE_CARRIES)
    if part is not None:
        facts["shard"] = str(part)
        notes.append(f"That was shard {part}. When all have run, a run without --shard makes predictions.csv of them.")
        given = {"--bundle": bundle, "--out": [out], "--faces": [faces], "--min-face": [min_face],
                 "--min-score": [min_score], "--part-size": [part_size], "--format": chosen}  # fmt: skip
        pairs = ((name, value) for name, values in given.items() for value in values if value is not None)
        words = [word for pair in pairs for word in pair]
        flags = ["--keep-crops"] * keep_crops + ["--overwrite"] * overwrite
        next_step = shared.next_command("predict", *photos, *words, *flags)
    elif dataset.submission_ids:
        submission, unreadable = out / "submission.csv", record.counts["unreadable"]
        notes.append(f"Submission: {submission} ({unreadable} unreadable photos got the most frequent class)")
    show_summary(context.console, dataset, record, count, place, facts, notes, next_step, every_face=every_face)


def _part(shard: str | None, out: Path | None, *, on_ray: bool, no_cache: bool) -> "Shard | None":
    """The shard that --shard names; UsageError for options that do not go together."""
    from pipeline.detection.shards import parse_shard

    if on_ray and shard is not None:
        raise UsageError("--shard and --engine ray exclude each other: Ray divides the photos by itself")
    if on_ray and no_cache:
        raise UsageError("--no-cache and --engine ray exclude each other: each machine keeps its networks in the cache")
    if shard is not None and out is None:
        raise UsageError("--shard needs --out FOLDER, the same for all shards")
    return None if shard is None else parse_shard(shard)


def _refuse_idle(option: str, parts: Mapping[str, object], *, is_given: bool) -> None:
    """Refuse options that have an effect only together with another one."""
    for name, value in parts.items():
        if value is not None and not is_given:
            raise UsageError(f"{name} has a part only in {option}; add that, or leave {name} out")
