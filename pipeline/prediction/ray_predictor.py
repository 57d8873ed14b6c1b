"""Predict parts on the machines of a Ray cluster.

In: the parts of a plan that are to be predicted. Out: the same parts as one process makes them, in the driver's store.

The actors read photos, cache and bundles themselves, under the paths that the driver has; only the rows of a part are
sent back. The cluster keeps no state: after any crash the same command continues from the parts in the store.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cache import cache_folder
from cache.errors import FacelineError
from detect.failures import first_line
from pipeline.console import Console
from pipeline.context import RunContext
from pipeline.detection.ray_driver import refuse_unseen, shared_address
from pipeline.detection.ray_pool import WorkerPool, cluster, plan_actors
from pipeline.detection.ray_worker import WorkerFailure, failure_here
from pipeline.intake.photo import Photo
from pipeline.prediction.output_folder import bundle_digest
from pipeline.prediction.part_store import PartFacts, PartPlan, PartStore
from pipeline.prediction.predict_settings import with_predict_settings
from pipeline.settings import Settings

if TYPE_CHECKING:  # they import torch, which an actor does when it is there, for its first part
    from pipeline.prediction.every_face import FaceSearch
    from pipeline.prediction.part_predictor import PartPredictor, PredictedPart


@dataclass(frozen=True, slots=True)
class PredictorSettings:
    """The settings of all actors of a run.

    Attributes:
        folder: the driver's current folder, from which relative paths lead.
        cache: the cache's folder or URL, the same for all machines.
        bundles: the folder of each, and the sha256 that identifies what the driver sees there.
        device: "cpu" or "cuda".
        threads: CPUs.
    """

    folder: str
    cache: str
    bundles: Sequence[tuple[str, str]]
    settings: Settings
    search: "FaceSearch | None"
    keep_crops: bool
    device: str
    threads: int


class PartActor:
    """An actor: a process of the cluster that predicts one part at a time."""

    def __init__(self, settings: PredictorSettings) -> None:
        self._settings = settings
        self._predictor: PartPredictor | None = None

    def begin(self) -> str | WorkerFailure:
        """Return the id of the machine, or a failure if it sees other bundles."""
        try:
            for folder, digest in self._settings.bundles:
                if bundle_digest(Path(folder)) != digest:
                    return failure_here(f"{folder} is another bundle there; all machines must see the same files")
        except FacelineError as error:
            return failure_here(str(error))
        import ray

        return ray.get_runtime_context().get_node_id()

    def predict_part(self, unit: tuple[int, Sequence[Photo]]) -> "PredictedPart | WorkerFailure":
        """Predict the photos of one part."""
        folder = Path(self._settings.folder)
        photos = [replace(photo, path=folder / photo.path) for photo in unit[1]]
        try:
            return self._load().predict(photos, lambda _: None)
        except FacelineError as error:
            return failure_here(str(error))
        except Exception as error:  # of which the driver shows one line: it says which photos these are
            names = f"{photos[0].name} to {photos[-1].name}"
            raise RuntimeError(f"{names}: {type(error).__name__}: {first_line(error)}") from error

    def _load(self) -> "PartPredictor":
        if self._predictor is None:
            from classify.inference.ensemble import load_ensemble
            from pipeline.prediction.part_predictor import PartPredictor

            chosen = self._settings
            console = Console(quiet=True)
            context = RunContext(chosen.settings, cache_folder(chosen.cache), chosen.device, chosen.threads, console)
            ensemble = load_ensemble([Path(folder) for folder, _ in chosen.bundles])
            ensemble = with_predict_settings(ensemble, chosen.settings.predict, console)
            self._predictor = PartPredictor(ensemble, context, search=chosen.search, keep_crops=chosen.keep_crops)
        return self._predictor


def predict_on_cluster(
    plan: PartPlan,
    numbers: Sequence[int],
    store: PartStore,
    context: RunContext,
    bundles: Sequence[Path],
    *,
    search: "FaceSearch | None" = None,
    keep_crops: bool = False,
    threads: int | None = None,
) -> tuple[dict[int, PartFacts], dict[str, int]]:
    """Predict parts on the cluster of RAY_ADDRESS, and keep each in the store.

    Args:
        plan: all parts.
        numbers: of the parts to predict, at least one.
        store: where they are kept; only this process needs to see it.
        context: cache, device, console and settings.
        bundles: what predicts.
        search, keep_crops: as in `SourcePredictor`.
        threads: CPUs per actor; None for a suitable number.

    Returns:
        The facts of each part, and the number of actors and of nodes that have predicted them.

    Raises:
        UsageError: there is no such cluster, or no actor fits into it.
        DataError: other machines do not see the photos.
        CacheError: the run can't continue; the parts that are finished are kept.
    """
    facts: dict[int, PartFacts] = {}
    with cluster() as ray:
        actors = plan_actors([node["Resources"] for node in ray.nodes() if node["Alive"]], context.device, threads)
        settings = PredictorSettings(
            str(Path.cwd()), shared_address(context.cache),
            [(str(bundle.absolute()), bundle_digest(bundle)) for bundle in bundles],
            context.settings, search, keep_crops, actors.device, actors.threads,
        )  # fmt: skip
        pool = WorkerPool(ray, PartActor, settings, min(actors.count, len(numbers)))
        units = [(number, plan.part(number)) for number in numbers]
        try:
            with context.console.progress("Predicting", sum(len(photos) for _, photos in units)) as advance:

                def keep(unit: tuple[int, Sequence[Photo]], part: "PredictedPart") -> None:
                    refuse_unseen(part.missing)
                    store.write(unit[0], part.content, part.facts)
                    facts[unit[0]] = part.facts
                    advance(len(unit[1]))

                pool.run("predict_part", units, keep)
        finally:
            pool.stop()
    nodes = pool.nodes_of_actors
    return facts, {"actors": len(nodes), "nodes": len(set(nodes.values()))}
