"""Predict the photos of one part of a large prediction.

In: photos in files. Out: their rows as the bytes of a Parquet file, and the facts that are kept with it.

The same code makes a part in a single process, in a shard and on a cluster, from the same batches of photos.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cache.sources import split_part
from classify.inference.ensemble import Ensemble
from detect.decode import decoders
from detect.failures import KEPT
from pipeline.context import RunContext
from pipeline.intake.photo import Photo
from pipeline.prediction.every_face import FaceSearch
from pipeline.prediction.part_store import PartFacts, files_state
from pipeline.prediction.predict_sources import SourcePredictor
from pipeline.prediction.prediction import Prediction, knows_folds

# Failures that befall a photo again and again; after any other, its part is predicted again by the next run.
LASTING = KEPT | {"encrypted", "crashed", "no_decoder"}


@dataclass(frozen=True, slots=True)
class PredictedPart:
    """A part that was just predicted: the bytes of its Parquet file, its facts, and files that could not be opened."""

    content: bytes
    facts: PartFacts
    missing: tuple[Path, ...] = ()


class PartPredictor:
    """Predicts the photos of parts with the same networks; arguments as `SourcePredictor`."""

    def __init__(
        self, ensemble: Ensemble, context: RunContext, *, search: FaceSearch | None = None, keep_crops: bool = False
    ) -> None:
        self._predictor = SourcePredictor(ensemble, context, search=search, keep_crops=keep_crops)

    def predict(self, photos: Sequence[Photo], advance: Callable[[float], None]) -> PredictedPart:
        """Predict the photos of one part; `advance` gets the number of photos done since its last call."""
        files = files_state(photos)  # before they are read: what changes meanwhile is noticed by the next run
        failed: list[Prediction] = []

        def keep_failed(batch: Sequence[Prediction]) -> None:
            failed.extend(item for item in batch if not item.is_readable)

        predictions = self._predictor.predict_files(photos, advance, keep_failed)
        passing = [item for item in failed if item.reason not in LASTING]
        missing = [split_part(item.photo.path)[0] for item in passing if item.reason == "missing" and item.photo]
        is_final = all(item.reason == "missing" for item in passing) and not any(path.exists() for path in missing)
        content = io.BytesIO()
        predictions.table.write_parquet(content)
        facts = PartFacts(
            len(photos), predictions.record.counts, predictions.record.reasons, predictions.record.trained_on,
            knows_folds(predictions.table), files, is_final,
            decoders() if any(item.reason == "no_decoder" for item in failed) else "",
        )  # fmt: skip
        return PredictedPart(content.getvalue(), facts, tuple(missing))
