"""`faceline check`: what is in a data set, and what is wrong with it."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.checked_paths import DataArg
from pipeline.commands.options import SharedOptions, with_shared_options

SHOWN_DEFECTS = 20


@with_shared_options()
def check(
    shared: SharedOptions,
    data: DataArg,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", help="Also write a page with pictures: classes, duplicates, bad photos.", metavar="FILE"
        ),
    ] = None,
) -> None:
    """Show what is in a data set, and what is wrong with it."""
    from detect.decode import why_unreadable
    from pipeline.console import cell, counted
    from pipeline.detection.cropped_faces import note_on_sample
    from pipeline.detection.detect import source_ids
    from pipeline.intake.check import check_data
    from pipeline.intake.corrections import load_labelled

    context = shared.context()
    settings = context.settings
    dataset = load_labelled(data, settings)
    photos, max_megapixels = [*dataset.train, *dataset.evaluation], settings.data.max_megapixels
    digests = source_ids([photo.path for photo in photos], context)
    decode = partial(why_unreadable, max_megapixels=max_megapixels)
    cropped = note_on_sample(photos, settings.detect, settings.crop, max_megapixels=max_megapixels)
    dataset = replace(dataset, notes=(*dataset.notes, cropped)) if cropped else dataset
    checked = check_data(dataset, settings.task_list(), decode=decode, digests=digests)

    for title, columns, rows in checked.tables():
        context.console.table(title, columns, rows)
    for note in dataset.notes:
        context.console.line(note)
    for correction in dataset.corrections:
        context.console.line(f"{correction.file}: {correction.text()}")
    shown = checked.defects[:SHOWN_DEFECTS]
    if shown:
        kinds = [defect.kind + (" (fatal)" if defect.fatal else "") for defect in shown]
        rows = [[kind, f"{defect.where}: {defect.message}"] for kind, defect in zip(kinds, shown, strict=True)]
        context.console.table("Defects", ["kind", "what"], rows)

    if html is not None:
        from pipeline.reports.data_page import write_data_page

        write_data_page(checked, digests, html, context)
        context.console.line(f"Page: {html}")

    fatal = sum(defect.fatal for defect in checked.defects)
    more = f", the first {len(shown)} shown (all with --json)" if len(shown) < len(checked.defects) else ""
    record = checked.as_json() | {"corrections": [correction.as_json() for correction in dataset.corrections]}
    record |= {} if html is None else {"html": str(html)}
    text = f"{counted(len(checked.defects), 'defect')}, {cell(fatal)} fatal{more}."
    context.console.done(record, text=text, next_step=shared.next_command("check" if fatal else "detect", data))
    if fatal:
        raise typer.Exit(1)
