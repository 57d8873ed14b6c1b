"""Predict many photos in parts, here or on a Ray cluster: what a killed run has finished is not predicted again.

In: a plan of the parts. Out: the parts in the store, and when all are there, predictions.csv and what else was
requested.

The rows are the same whoever predicts the parts: one process, several with a shard each, or the actors of a cluster.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from classify.inference.ensemble import Ensemble
from pipeline.context import RunContext
from pipeline.detection.shards import Shard
from pipeline.prediction.every_face import FaceSearch
from pipeline.prediction.part_predictor import PartPredictor
from pipeline.prediction.part_store import PartFacts, PartPlan, PartStore
from pipeline.prediction.prediction import PHOTO_COLUMNS
from pipeline.prediction.prediction_files import write_tables
from pipeline.prediction.prediction_record import PredictionRecord, joined_records, record_of


@dataclass(frozen=True, slots=True)
class Cluster:
    """What actors on a Ray cluster need besides the plan.

    Attributes:
        bundles: what predicts.
        threads: CPUs per actor; None for a suitable number.
    """

    bundles: Sequence[Path]
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class PredictedParts:
    """All parts, or those of a shard.

    Attributes:
        record: what predictions.json says about them.
        facts: of each part.
        predicted: how many photos this run has predicted; those of the other parts were predicted before.
        machines: actors and nodes of a cluster that have predicted parts now.
    """

    record: PredictionRecord
    facts: Sequence[PartFacts]
    predicted: int
    machines: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def photos(self) -> int:
        """How many photos there are."""
        return sum(part.photos for part in self.facts)


def predict_parts(
    plan: PartPlan,
    store: PartStore,
    ensemble: Ensemble,
    context: RunContext,
    *,
    search: FaceSearch | None = None,
    keep_crops: bool = False,
    shard: Shard | None = None,
    cluster: Cluster | None = None,
) -> PredictedParts:
    """Predict the parts that are not in the store yet.

    Args:
        plan: all parts.
        store: where they are kept.
        ensemble: what predicts them.
        context: cache, device, workers, console and settings.
        search, keep_crops: as in `SourcePredictor`.
        shard: only its parts.
        cluster: predict them there and not in this process.

    Raises:
        DetectionError: nothing can be read or detected at the moment; the parts that are finished are kept.
        UsageError, DataError, CacheError: as in `predict_on_cluster`.
    """
    numbers = range(plan.count) if shard is None else shard.share(plan.count)
    known = {number: store.read_facts(number) for number in numbers}
    missing = [number for number, facts in known.items() if facts is None]
    if shard is not None and shard.count > plan.count:
        context.console.warn(
            f"{len(plan.photos):,} photos in parts of {plan.size:,} are too few for {shard.count:,} shards, of which "
            f"some have nothing to do; --part-size {-(-len(plan.photos) // shard.count)} for all makes smaller parts"
        )
    if again := sum(map(store.is_begun, missing)):
        context.console.warn(
            f"predicted again: {again:,} of {plan.count:,} parts, of which a photo has changed or could not be read "
            "for a passing fault, or a file is damaged"
        )
    made: dict[int, PartFacts] = {}
    machines: Mapping[str, int] = {}
    if missing and cluster is not None:
        from pipeline.prediction.ray_predictor import predict_on_cluster

        made, machines = predict_on_cluster(
            plan, missing, store, context, cluster.bundles,
            search=search, keep_crops=keep_crops, threads=cluster.threads,
        )  # fmt: skip
    elif missing:
        predictor = PartPredictor(ensemble, context, search=search, keep_crops=keep_crops)
        with context.console.progress("Predicting", sum(len(plan.part(number)) for number in missing)) as advance:
            for number in missing:
                part = predictor.predict(plan.part(number), advance)
                store.write(number, part.content, part.facts)
                made[number] = part.facts
    parts = [facts for number in numbers if (facts := made.get(number) or known[number]) is not None]
    none = record_of(ensemble, pl.DataFrame(schema=PHOTO_COLUMNS), {}, context)
    records = [replace(none, counts=part.counts, reasons=part.reasons, trained_on=part.trained_on) for part in parts]
    record = joined_records(records or [none])
    return PredictedParts(record, parts, sum(part.photos for part in made.values()), machines)


def write_parts(
    parts: PredictedParts,
    store: PartStore,
    out: Path,
    formats: Sequence[str],
    *,
    submission_ids: Sequence[str] = (),
    fallback_class: int = 0,
) -> None:
    """Write what `write_tables` writes, from all parts; then delete them, unless "parts" is among the formats."""
    folds = any(part.has_folds for part in parts.facts)
    keeps = "parts" in formats
    store.delete(leftovers=True)
    write_tables(
        store.tables(folds=folds), store.frame(folds=folds), parts.record, out, formats if keeps else [*formats, "csv"],
        submission_ids=submission_ids, fallback_class=fallback_class,
    )  # fmt: skip
    if not keeps:
        store.delete(leftovers=False)
