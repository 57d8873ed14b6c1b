"""Compute a trained network's probabilities in the fastest runtime that is available.

inputs (N, H, W, 3) uint8 -> per task, probabilities (N, C) float32.

On a CPU, OpenVINO computes them if it is installed (`pip install "faceline[fast]"`), else torch; on a GPU, torch.
"""

import importlib.util
from collections.abc import Sequence
from functools import cache, cached_property
from itertools import accumulate
from math import ceil
from pathlib import Path
from threading import Lock, local
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from classify.config import Precision
from classify.devices import fastest_precision, in_prediction_thread
from classify.inference.bundle import TrainedNetwork
from classify.inference.decision import Probabilities
from classify.inference.kept_conversions import converted
from classify.inference.probabilities import probabilities

Inputs = NDArray[np.uint8]  # (N, H, W, 3) RGB

BATCH = 8  # inputs at once: OpenVINO is a third faster than with single ones, and no faster with more
SINGLY = 5  # inputs that are faster one by one than in a batch that is not full
OPENVINO_NAMES = {"fp32": "f32", "bf16": "bf16"}
PRECISION_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
SHARING = 4  # threads that compute a single input together; two take two thirds of one's time


class Runtime(Protocol):
    """A trained network that is ready to predict; threads may share it."""

    name: str  # "torch" or "openvino"

    def load(self) -> None:
        """Convert the network if it has to be, before other threads compute: they may disturb the conversion."""
        ...

    def probabilities(self, inputs: Inputs, rows: NDArray[np.intp] | None = None) -> list[Probabilities]:
        """The class probabilities of each input, (N, C) for each task of the network's heads.

        Args:
            inputs: (N, H, W, 3) uint8.
            rows: (M,) the inputs to predict, in this order; None for all.
        """
        ...


class TorchRuntime:
    """A network in torch, on any device."""

    name = "torch"

    def __init__(self, trained: TrainedNetwork, device: str, *, flip: bool) -> None:
        self._trained, self._device, self._flip = trained, device, flip
        self._network = trained.network.to(device).eval()
        self._lock = Lock()

    def load(self) -> None:
        """See `Runtime.load`; there is nothing to convert."""

    def probabilities(self, inputs: Inputs, rows: NDArray[np.intp] | None = None) -> list[Probabilities]:
        """See `Runtime.probabilities`."""
        trained = self._trained

        def compute() -> list[Probabilities]:
            return probabilities(
                self._network, trained.heads, inputs, trained.normalise, self._device, flip=self._flip, rows=rows
            )

        with self._lock:  # torch uses all cores for one call, and two would wait for each other's
            return in_prediction_thread(compute, self._device)


class OpenVinoRuntime:
    """A network in OpenVINO, on the CPU: a batch is computed by one thread, a single input by a few together."""

    name = "openvino"

    def __init__(
        self,
        trained: TrainedNetwork,
        *,
        flip: bool,
        threads: int,
        cache: Path | None = None,
        precision: str = "fp32",
    ) -> None:
        self._precision = OPENVINO_NAMES[precision]
        self._classes = [len(task.classes) for task in trained.heads.tasks]
        self._trained, self._flip, self._threads, self._cache = trained, flip, threads, cache
        self._compiled: dict[int, Any] = {}
        self._lock, self._local = Lock(), local()

    def load(self) -> None:
        """See `Runtime.load`."""
        import openvino

        with self._lock:
            _ = self._model
        openvino.Type.f32.to_dtype()  # fills a table at its first call, and deadlocks if threads make that at once

    def probabilities(self, inputs: Inputs, rows: NDArray[np.intp] | None = None) -> list[Probabilities]:
        """See `Runtime.probabilities`."""
        chosen = np.arange(len(inputs)) if rows is None else rows
        predicted = np.zeros((len(chosen), sum(self._classes)), np.float32)
        start = 0
        while start < len(chosen):
            left = len(chosen) - start
            size = 1 if left <= SINGLY else BATCH
            part = np.ascontiguousarray(inputs[chosen[start : start + size]])
            count = len(part)
            if count < size:
                part = np.concatenate([part, np.zeros((size - count, *part.shape[1:]), np.uint8)])
            [output] = self._request(size).infer([part], share_inputs=True).values()
            predicted[start : start + count] = output[:count]
            start += count
        bounds = list(accumulate(self._classes))[:-1]
        return [np.ascontiguousarray(part) for part in np.split(predicted, bounds, axis=1)]

    def _request(self, size: int) -> Any:
        """This thread's request for batches of `size`."""
        requests: dict[int, Any] = self._local.__dict__.setdefault("requests", {})
        if size not in requests:
            with self._lock:
                if size not in self._compiled:
                    self._compiled[size] = self._compile(size)
            requests[size] = self._compiled[size].create_infer_request()
        return requests[size]

    @cached_property
    def _model(self) -> Any:
        return converted(self._trained, flip=self._flip, cache=self._cache)

    def _compile(self, size: int) -> Any:
        import openvino

        model = self._model.clone()
        model.reshape([size, *self._trained.model.input, 3])
        options = {
            "INFERENCE_PRECISION_HINT": self._precision,  # by default, OpenVINO takes bfloat16 where the CPU has it
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": self._threads if size > 1 else ceil(self._threads / SHARING),
            "ENABLE_CPU_PINNING": False,
        }
        return openvino.Core().compile_model(model, "CPU", options)


def runtime_on(device: str) -> Literal["openvino", "torch"]:
    """The fastest installed runtime on a device."""
    return "openvino" if device == "cpu" and importlib.util.find_spec("openvino") is not None else "torch"


def precision_on(device: str, wanted: Precision) -> str:
    """The number format in which networks are computed on a device, if `wanted` is what a CPU should use."""
    if device != "cpu":
        return PRECISION_NAMES[fastest_precision(device)]
    return "bf16" if wanted == "bf16" and runtime_on(device) == "openvino" and _has_bf16() else "fp32"


@cache
def _has_bf16() -> bool:
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def runtimes_of(
    networks: Sequence[TrainedNetwork],
    device: str,
    *,
    flip: bool,
    threads: int,
    cache: Path | None = None,
    precision: Precision = "fp32",
) -> list[Runtime]:
    """Prepare networks in the fastest installed runtime.

    Args:
        networks: of one bundle.
        device: a torch device name.
        flip: average over each input and its mirror image.
        threads: that will predict at the same time on a CPU.
        cache: the folder of the cache, where converted networks are kept; None to keep none.
        precision: of a CPU; see `precision_on`.
    """
    if runtime_on(device) == "openvino":
        used = precision_on(device, precision)
        return [
            OpenVinoRuntime(network, flip=flip, threads=threads, cache=cache, precision=used) for network in networks
        ]
    return [TorchRuntime(network, device, flip=flip) for network in networks]
