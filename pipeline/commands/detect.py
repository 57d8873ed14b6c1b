"""`faceline detect`: a crop in the cache for every photo, made here, as one shard of many, or on a Ray cluster."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cache.errors import UsageError
from pipeline.commands.checked_paths import DataArg
from pipeline.commands.options import PREDICT_CARRIES, SharedOptions, with_shared_options

SHEET_SUFFIXES = (".png", ".jpg", ".jpeg")


@with_shared_options()
def detect(
    shared: SharedOptions,
    data: DataArg,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="Write a contact sheet of the missed faces.", metavar="PNG")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try the photos again that could not be read before.")
    ] = False,
    shard: Annotated[
        str | None, typer.Option("--shard", help="Only this share of the photos, of n that run apart.", metavar="I/N")
    ] = None,
    engine: Annotated[
        str, typer.Option("--engine", help="local, or ray: on the Ray cluster that RAY_ADDRESS names.")
    ] = "local",
) -> None:
    """Find the face in every photo of DATA and keep the crops in the cache."""
    from pipeline.console import cell, counted
    from pipeline.detection.cropped_faces import note_on_crops
    from pipeline.detection.detect import detect_photos
    from pipeline.detection.shards import parse_shard
    from pipeline.detection.unreadable import in_words
    from pipeline.intake.load import load_data
    from pipeline.intake.reading_report import reading_json, show_reading

    if engine not in {"local", "ray"}:
        raise UsageError(f"--engine {engine}: it is local or ray")
    if sheet is not None and sheet.suffix.lower() not in SHEET_SUFFIXES:
        raise UsageError(f"--sheet {sheet}: the name must end in {' or '.join(SHEET_SUFFIXES)}")
    part = parse_shard(shard) if shard is not None else None
    if part is not None and engine == "ray":
        raise UsageError("--shard and --engine ray exclude each other: Ray divides the photos by itself")
    if shared.no_cache and engine == "ray":
        raise UsageError("--no-cache and --engine ray exclude each other: the machines share the crops in the cache")
    context = shared.context()
    dataset = load_data(data, context.settings.task_list(), context.settings.data).require_usable()
    show_reading(dataset, context.console)
    photos = [*dataset.train, *dataset.evaluation]
    next_step = shared.next_command("train", data)
    if not dataset.train:
        next_step = shared.next_command("predict", data, "--bundle", "RUN/bundle", carry=PREDICT_CARRIES)

    # Detect
    machines: dict[str, Any] = {}
    note = ""
    if engine == "ray":
        from pipeline.detection.ray_driver import detect_on_cluster

        on_cluster = detect_on_cluster(photos, context, threads=shared.workers, retry=retry_failed)
        detection = on_cluster.detection
        machines = {"engine": "ray", "actors": on_cluster.actors, "nodes": on_cluster.nodes}
        note = f"\n{cell(on_cluster.actors)} actors on {cell(on_cluster.nodes)} machines made the units."
    elif part is not None:
        photos = part.photos(photos)
        detection = detect_photos(photos, context, retry=retry_failed)
        machines = {"shard": str(part)}
        note = f"\nThat was shard {part}. When all have run, a run without --shard makes what one left undone."
        next_step = shared.next_command("detect", data)
    else:
        detection = detect_photos(photos, context, retry=retry_failed)
    summary = {**detection.summary(photos), **machines, **reading_json(dataset)}

    if cropped := note_on_crops(map(detection.entry, photos)):
        context.console.warn(cropped)
        summary["notes"] = [*summary["notes"], cropped]

    # Contact sheet
    if sheet is not None:
        from pipeline.reports.contact_sheets import missed_sheet

        shown, missed = missed_sheet(photos, detection, sheet)
        summary |= {"missed": missed, "sheet": str(sheet) if shown else None}
        first = f"the first {cell(shown)} of " if shown < missed else ""
        sheet_note = f"\nSheet: {sheet}, {first}{counted(missed, 'photo')} in which {detection.steps[0]} found no face"
        found_all = f"{detection.steps[0]} found a face in every photo"
        no_sheet = "no face was looked for" if detection.steps[0] == "whole" else found_all
        note += sheet_note if shown else f"\nNo sheet: {no_sheet}"

    # Show
    if detection.cut:
        context.console.table("Found by", ["step", "photos"], list(summary["found_by"].items()))
        waiting = ", ".join(f"{stage} {share:.0%}" for stage, share in detection.waiting.items())
        text = f"{counted(detection.detected, 'photo')} detected, {cell(detection.cut)} cropped"
        text += f" in {detection.seconds:.1f} s (waited for {waiting})"
    else:
        text = f"Nothing to do: the crops of all {cell(len(photos))} photos are in the cache"
    reasons = f" ({in_words(summary['reasons'])})" if summary["unreadable"] else ""
    text += f", {summary['unreadable']} unreadable{reasons}, {summary['photos_per_s']:.0f} photos a second.{note}"
    context.console.done(summary, text=text, next_step=next_step)
