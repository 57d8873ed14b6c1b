"""Predict everything that photos can be in, a batch at a time.

In: Photos as `load_inputs` lists them. Out: one row for each photo in them, in their order. Memory holds the rows, and
of the photos in archives, videos and on the network no more than a batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import polars as pl

from cache.errors import DataError
from classify.inference.ensemble import Ensemble
from pipeline.context import RunContext
from pipeline.intake.photo import Photo
from pipeline.intake.photo_files import skipped_text
from pipeline.intake.sources import OpenedSources
from pipeline.prediction.engine import Engine
from pipeline.prediction.every_face import EveryFace, FaceSearch
from pipeline.prediction.predict import Predictions, make_crops, predict_photos
from pipeline.prediction.prediction import Prediction, face_columns
from pipeline.prediction.prediction_record import joined_records

OnBatch = Callable[[Sequence[Prediction]], None]


def predict_sources(
    inputs: Sequence[Photo],
    sources: OpenedSources,
    ensemble: Ensemble,
    context: RunContext,
    *,
    search: FaceSearch | None = None,
    on_batch: OnBatch | None = None,
    keep_crops: bool = False,
) -> Predictions:
    """Predict the photos in the inputs; what is passed over, and what can't be read to its end, is in `sources`.

    Args:
        search: predict all faces that it finds, in a row each, and not only the subject of each photo.
        on_batch: is called with the predictions of each batch, while their photos' content is in memory.
        keep_crops: put the crops into the cache.

    Raises:
        DataError: there is no photo in them.
    """
    engine = Engine(ensemble, context, use_cache=True)
    batches = sources.batches(inputs)
    if search is not None:
        every_face = EveryFace(search, ensemble, context)
        batches = (faces for photos in batches for faces in every_face.batches(photos))
    parts: list[Predictions] = []
    shown = 0
    for photos in batches:
        ids = make_crops(photos, ensemble, context) if keep_crops else None
        part = predict_photos(photos, ensemble, context, sources=ids, engine=engine)
        if on_batch is not None:
            on_batch(part.items)
        table = part.table if search is None else part.table.hstack(face_columns(part.items))
        parts.append(replace(part, table=table, items=()))  # the photos' content need not stay
        for problem in sources.problems[shown:]:
            context.console.warn(problem)
        shown = len(sources.problems)
    if passed_over := skipped_text(sources.skipped):
        context.console.line(f"passed over: {passed_over}")
    if not parts:
        reason = "; ".join(sources.problems) or passed_over or "they are empty"
        raise DataError(f"{inputs[0].name}{' and others' if len(inputs) > 1 else ''}: no photos ({reason})")
    table = pl.concat([part.table for part in parts], how="diagonal")
    record = joined_records([part.record for part in parts])
    return Predictions(table, record.counts, parts[0].fallback_class, record)
