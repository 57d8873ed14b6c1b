"""The networks of one bundle, ready to predict.

In: the inputs of some photos for each view, and the photos' source ids. Out: calibrated probabilities of each task.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classify.config import Precision
from classify.inference.bundle import Bundle, TrainedNetwork
from classify.inference.decision import Probabilities
from classify.inference.runtime import runtimes_of
from pipeline.prediction.trained_on import network_rows

View = tuple[tuple[int, int], float]  # (height, width) of an input in pixels, and zoom


class BundleNetworks:
    """A bundle's networks in the fastest runtime of a device; threads may share them.

    Args:
        bundle: the networks, and how their probabilities are put together.
        device: a torch device name.
        threads: that will predict at the same time.
        cache: the folder of the cache, where converted networks are kept; None to keep none.
        precision: of a CPU.
    """

    def __init__(self, bundle: Bundle, device: str, *, threads: int, cache: Path | None, precision: Precision) -> None:
        self._bundle = bundle
        self._runtimes = runtimes_of(
            bundle.networks, device, flip=bundle.flip, threads=threads, cache=cache, precision=precision
        )
        self._voting = {
            task.name: sum(task in network.heads.tasks for network in bundle.networks) for task in bundle.tasks
        }
        self.views: list[View] = sorted({view_of(network) for network in bundle.networks})

    def load(self) -> None:
        """Convert what has to be converted; see `Runtime.load`."""
        for runtime in self._runtimes:
            runtime.load()

    def probabilities(
        self, inputs: Mapping[View, NDArray[np.uint8]], sources: Sequence[str]
    ) -> dict[str, Probabilities]:
        """Each task's mean probabilities, (N, C), calibrated.

        Args:
            inputs: (N, H, W, 3) of each of `views`; networks with the same view share them.
            sources: the source ids of the N photos; of the networks' own photos, some networks may not predict all.
        """
        totals = {task.name: np.zeros((len(sources), len(task.classes))) for task in self._bundle.tasks}
        counts = {task.name: np.zeros((len(sources), 1)) for task in self._bundle.tasks}
        chosen = network_rows(self._bundle, sources)
        for network, runtime, is_chosen in zip(self._bundle.networks, self._runtimes, chosen, strict=True):
            rows = np.flatnonzero(is_chosen)
            if not len(rows):
                continue
            predicted = runtime.probabilities(inputs[view_of(network)], rows)
            for task, task_probabilities in zip(network.heads.tasks, predicted, strict=True):
                totals[task.name][rows] += task_probabilities
                counts[task.name][rows] += 1
        means = {name: (total / counts[name]).astype(np.float32) for name, total in totals.items()}
        return {
            name: self._bundle.calibrated(name, mean, counts[name][:, 0] < self._voting[name])
            for name, mean in means.items()
        }


def view_of(network: TrainedNetwork) -> View:
    """Return what distinguishes the network's inputs from those of other networks with the same crops."""
    return network.model.input, network.model.zoom
