"""Run MTCNN on any number of images of any sizes.

RGB images -> batches of one size -> the cascade, on several batches in parallel -> Faces in the order of the images.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cache, cached_property
from itertools import chain
from threading import local
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from detect.cascade import NET_SIDE, Cascade
from detect.faces import Faces, Image
from detect.networks import networks_on
from detect.precision import true_float32

# Maximum of photos in a batch, and of their pixels or P-Net's input pixels, whichever are more: batches of large photos
# are smaller, so that memory stays bounded.
BATCH = {"cpu": 16, "cuda": 64}
PIXELS_AT_ONCE = {"cpu": 1 << 22, "cuda": 1 << 25}
GPU_THREADS = 2  # one batch is prepared and sent while the other is computed, each in its own stream

_local = local()  # each thread's CUDA stream
_log = logging.getLogger("faceline")


class Mtcnn:
    """The cascade for images of mixed sizes.

    Args:
        thresholds, factor: see `Cascade`.
        device: "auto", "cpu", "cuda" or "cuda:n".
        batch: maximum number of images in one pass; None for what suits the device.
        threads: batches computed in parallel on a CPU; None for torch's number of threads.
    """

    def __init__(
        self,
        thresholds: tuple[float, float, float],
        factor: float,
        device: str = "auto",
        *,
        batch: int | None = None,
        threads: int | None = None,
    ) -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        chosen = torch.device(device)
        self._batch = min(batch or BATCH[chosen.type], BATCH[chosen.type])
        self._pixels = PIXELS_AT_ONCE[chosen.type]
        self._factor = factor
        self._threads = (threads or torch.get_num_threads()) if chosen.type == "cpu" else GPU_THREADS
        self._thresholds = thresholds
        self._cascade = Cascade(networks_on(chosen), thresholds, factor)
        self._pool = _gpu_pool(chosen) if chosen.type == "cuda" else _pool(chosen, self._threads)

    def detect(self, images: Sequence[Image], min_faces: Sequence[float]) -> list[Faces]:
        """Find the faces of each image, in order; image sizes may differ.

        Args:
            images: RGB uint8, each (height, width, 3).
            min_faces: shorter side of the smallest face to find in each image, in pixels.
        """
        keys = [(image.shape, size) for image, size in zip(images, min_faces, strict=True)]
        limits = [self._fits(image, size) for image, size in zip(images, min_faces, strict=True)]

        def work(cascade: Cascade, members: Sequence[int]) -> list[Faces]:
            return cascade.detect([images[i] for i in members], min_faces[members[0]])

        return self._in_batches(keys, limits, work)

    def refine_boxes(self, images: Sequence[Image], boxes: Sequence[NDArray[np.float32]], score: float) -> list[Faces]:
        """Run O-Net on one box (4,) per image; returns its face, or none where its score is below `score`."""

        def work(cascade: Cascade, members: Sequence[int]) -> list[Faces]:
            boxes_of_members = np.stack([boxes[i] for i in members])
            return cascade.refine_boxes([images[i] for i in members], boxes_of_members, score)

        return self._in_batches([image.shape for image in images], [self._fits(image) for image in images], work)

    def _fits(self, image: Image, min_face: float = float("inf")) -> int:
        """Return how many images of this size may be in one batch."""
        pixels = image.shape[0] * image.shape[1]
        cells = pixels * (NET_SIDE / min_face) ** 2 / (1 - self._factor**2)
        return max(1, min(self._batch, int(self._pixels / max(pixels, cells, 1))))

    def _in_batches(
        self, keys: Sequence[object], limits: Sequence[int], work: Callable[[Cascade, Sequence[int]], list[Faces]]
    ) -> list[Faces]:
        """Run `work` on batches of indices with equal keys, no larger than their limit; returns results in order."""
        groups: dict[object, list[int]] = defaultdict(list)
        for index, key in enumerate(keys):
            groups[key].append(index)
        batches: list[list[int]] = []
        for members in groups.values():
            # Give each thread a batch before filling any to its limit.
            size = min(limits[members[0]], -(-len(members) // self._threads))
            batches += [members[start : start + size] for start in range(0, len(members), size)]
        with true_float32():
            results = self._pool.map(lambda batch: self._in_this_threads_stream(work, batch), batches)
            found = dict(zip(chain.from_iterable(batches), chain.from_iterable(results), strict=True))
        return [found[index] for index in range(len(keys))]

    def _in_this_threads_stream(
        self, work: Callable[[Cascade, Sequence[int]], list[Faces]], batch: Sequence[int]
    ) -> list[Faces]:
        stream: Any = getattr(_local, "stream", None)
        with nullcontext() if stream is None else torch.cuda.stream(stream):
            return self._halved_if_too_large(work, batch)

    def _halved_if_too_large(
        self, work: Callable[[Cascade, Sequence[int]], list[Faces]], batch: Sequence[int]
    ) -> list[Faces]:
        """Run `work` on a batch; if the GPU runs out of memory, on its halves and theirs, and a photo on the CPU."""
        try:
            return work(self._cascade, batch)
        except torch.cuda.OutOfMemoryError:
            pass  # until here, the error keeps the batch's tensors in memory
        self._cascade.free_memory()
        if len(batch) == 1:
            _log.warning("the GPU's memory is too small for a photo: its face is looked for on the CPU")
            return work(self._cascade_on_cpu, batch)
        middle = len(batch) // 2
        _log.warning("the GPU's memory is too small for %d photos at once: taking %d", len(batch), middle)
        return self._halved_if_too_large(work, batch[:middle]) + self._halved_if_too_large(work, batch[middle:])

    @cached_property
    def _cascade_on_cpu(self) -> Cascade:
        return Cascade(networks_on(torch.device("cpu")), self._thresholds, self._factor)


def _pool(device: torch.device, threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "faces", initializer=_start_thread, initargs=(device,))


@cache
def _gpu_pool(device: torch.device) -> ThreadPoolExecutor:
    """The threads in which all detectors use a GPU: in each thread, cuDNN prepares each size of an input anew."""
    return _pool(device, GPU_THREADS)


def _start_thread(device: torch.device) -> None:
    if device.type == "cpu":
        torch.set_num_threads(1)  # for this thread's operations: cores are shared by batches, not within operations
    else:
        _local.stream = torch.cuda.Stream(device)
