"""`faceline train`: networks trained on the labelled photos of a data set, or a preview of what they would see."""

from typing import Annotated

import typer

from pipeline.commands.checked_paths import DataArg
from pipeline.commands.options import PREDICT_CARRIES, RunOpt, SharedOptions, run_folder, with_shared_options


@with_shared_options()
def train(
    shared: SharedOptions,
    data: DataArg,
    out: RunOpt = None,
    preview: Annotated[
        bool,
        typer.Option("--preview", help="Only show what each class is trained on: counts, and a sheet of pictures."),
    ] = False,
) -> None:
    """Train the classifiers; faces that are not in the cache are found first."""
    from pipeline.chain import train_data
    from pipeline.context import with_ranks
    from pipeline.training.score_notes import final_notes

    context = shared.context()
    run = run_folder(out, data, context)
    if preview:
        from pipeline.detection.detect import detect_photos
        from pipeline.intake.corrections import load_labelled
        from pipeline.intake.reading_report import show_reading
        from pipeline.reports.augmentation_preview import write_previews
        from pipeline.training.settings_check import refuse_unusable_settings

        dataset = load_labelled(data, context.settings).require_usable()
        show_reading(dataset, context.console, scores=True)
        photos = dataset.train
        refuse_unusable_settings(context.settings)
        paths = [str(path) for path in write_previews(photos, detect_photos(photos, context), run, context)]
        text = "\n".join(f"Preview: {path}" for path in paths)
        chosen = ("--out", out) if out is not None else ()
        next_step = shared.next_command("train", data, *chosen)
        context.console.done({"previews": paths}, text=text, next_step=next_step)
        return

    context = with_ranks(context)
    finished = train_data(data, run, context)
    context.console.scores(finished.scores, "Scores on the held-out fold", final_notes(context.settings))
    next_step = shared.next_command("predict", "PHOTOS", "--bundle", run / "bundle", carry=PREDICT_CARRIES)
    context.console.done(finished.as_json(), text=f"Run: {run}", next_step=next_step)
