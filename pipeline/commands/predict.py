"""`faceline predict`: a row of predictions for every photo, from one bundle or an ensemble."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import SharedOptions, with_shared_options


@with_shared_options()
def predict(
    shared: SharedOptions,
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTOS...",
            help="Photos, folders, quoted patterns, .txt files with a path a line, - for paths on stdin; or one table, "
            "or one data set with an eval part.",
        ),
    ],
    bundle: Annotated[
        list[Path],
        typer.Option(
            "--bundle", help="RUN/bundle of a training, or a folder of `vote`. Several are averaged.", metavar="B"
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for predictions.csv.")] = Path("predictions"),
) -> None:
    """Predict every photo with a trained bundle, or with an ensemble of several."""
    from classify.inference.ensemble import load_ensemble
    from pipeline.intake.load import load_data
    from pipeline.intake.photo_inputs import load_inputs
    from pipeline.prediction.predict import predict_photos, write_predictions

    context = shared.context()
    # Neither labels nor people are read, so a table needs no column but that of the paths.
    columns = {what: name for what, name in context.settings.data.columns.items() if what == "path"}
    dataset = load_inputs(photos, lambda path: load_data(path, (), columns))
    ensemble = load_ensemble(bundle)
    selected = dataset.evaluation or dataset.train
    predictions = predict_photos(selected, ensemble, context)
    write_predictions(predictions, out, dataset.submission_ids)

    table = out / "predictions.csv"
    counts = ", ".join(f"{count} {status}" for status, count in predictions.counts.items())
    text = f"{len(selected)} photos: {counts}\nPredictions: {table}"
    if dataset.submission_ids:
        unreadable = predictions.counts["unreadable"]
        text += f"\nSubmission: {out / 'submission.csv'} ({unreadable} unreadable photos got the most frequent class)"
    record = {"photos": len(selected), **predictions.counts, "predictions": str(table)}
    context.console.done(record, text=text, next_step=f"faceline evaluate {table} --truth ANSWERS.csv")
