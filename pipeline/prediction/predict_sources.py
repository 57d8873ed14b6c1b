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


class SourcePredictor:
    """Predicts the photos in inputs with networks that are loaded once.

    Args:
        ensemble: the bundles.
        context: cache, device, workers and console.
        search: predict all faces that it finds, in a row each, and not only the subject of each photo.
        keep_crops: put the crops into the cache.
    """

    def __init__(
        self, ensemble: Ensemble, context: RunContext, *, search: FaceSearch | None = None, keep_crops: bool = False
    ) -> None:
        self._ensemble, self._context, self._keep_crops = ensemble, context, keep_crops
        self._engine = Engine(ensemble, context, use_cache=True)
        self._every_face = None if search is None else EveryFace(search, ensemble, context)

    def predict(self, inputs: Sequence[Photo], sources: OpenedSources, on_batch: OnBatch | None = None) -> Predictions:
        """Predict the photos in the inputs; what is passed over, and what can't be read to its end, is in `sources`.

        Args:
            inputs: at least one, as `load_inputs` lists them.
            sources: opens them.
            on_batch: is called with the predictions of each batch, while their photos' content is in memory.

        Raises:
            DataError: there is no photo in them.
        """
        console = self._context.console
        parts: list[Predictions] = []
        shown = 0
        for photos in sources.batches(inputs):
            for batch in [photos] if self._every_face is None else self._every_face.batches(photos):
                parts.append(self._predict(batch, on_batch))
                for problem in sources.problems[shown:]:
                    console.warn(problem)
                shown = len(sources.problems)
        if passed_over := skipped_text(sources.skipped):
            console.line(f"passed over: {passed_over}")
        if not parts:
            reason = "; ".join(sources.problems) or passed_over or "they are empty"
            raise DataError(f"{inputs[0].name}{' and others' if len(inputs) > 1 else ''}: no photos ({reason})")
        return joined(parts)

    def predict_files(
        self, photos: Sequence[Photo], advance: Callable[[float], None], on_batch: OnBatch | None = None
    ) -> Predictions:
        """Predict photos in files, for a part of a larger table: it has all columns.

        Args:
            photos: at least one.
            advance: gets the number of photos predicted since its last call.
            on_batch: as in `predict`.
        """
        parts: list[Predictions] = []
        for batch in OpenedSources().batches(photos):
            if self._every_face is None:
                parts.append(self._predict(batch, on_batch, advance, all_columns=True))
                continue
            for faces in self._every_face.batches(batch):
                parts.append(self._predict(faces, on_batch, lambda _: None, all_columns=True))
                advance(len({id(face.face.photo if face.face else face) for face in faces}))
        return joined(parts)

    def _predict(
        self,
        photos: Sequence[Photo],
        on_batch: OnBatch | None,
        advance: Callable[[float], None] | None = None,
        *,
        all_columns: bool = False,
    ) -> Predictions:
        context = self._context
        # Two bars can't be shown at once.
        cropping = context if advance is None else replace(context, console=replace(context.console, quiet=True))
        ids = make_crops(photos, self._ensemble, cropping) if self._keep_crops else None
        part = predict_photos(
            photos, self._ensemble, context, sources=ids, engine=self._engine, advance=advance, all_columns=all_columns
        )
        if on_batch is not None:
            on_batch(part.items)
        table = part.table if self._every_face is None else part.table.hstack(face_columns(part.items))
        return replace(part, table=table, items=())  # the photos' content need not stay


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Put the predictions of several batches, at least one, together."""
    table = pl.concat([part.table for part in parts], how="diagonal")
    record = joined_records([part.record for part in parts])
    return Predictions(table, record.counts, parts[0].fallback_class, record)
