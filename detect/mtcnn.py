"""MTCNN over images of any sizes, in any number.

RGB images -> batches of one size -> the cascade, several batches at a time -> Faces in the order of the images.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import local
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from detect.cascade import NET_SIDE, Cascade
from detect.faces import Faces, Image
from detect.networks import networks_on

# Photos of one size that go through the cascade together, and their pixels or P-Net's inputs for them, whichever are
# more: of large photos fewer go, so that memory stays bounded.
BATCH = {"cpu": 16, "cuda": 64}
PIXELS_AT_ONCE = {"cpu": 1 << 22, "cuda": 1 << 25}

_own = local()  # each thread's CUDA stream
_log = logging.getLogger("faceline")


class Mtcnn:
    """The cascade for images of mixed sizes.

    Args:
        thresholds: the score that each of the three networks asks for.
        factor: ratio of the sizes of neighbouring pyramid levels.
        device: "auto", "cpu", "cuda" or "cuda:n".
        batch: at most this many images in one pass; None for what suits the device.
        threads: batches that are computed at a time on a CPU; None for as many as torch has threads.
        half: compute in half precision on a GPU.
    """

    def __init__(
        self,
        thresholds: tuple[float, float, float],
        factor: float,
        device: str = "auto",
        *,
        batch: int | None = None,
        threads: int | None = None,
        half: bool = False,
    ) -> None:
        on = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        self._batch, self._pixels = min(batch or BATCH[on.type], BATCH[on.type]), PIXELS_AT_ONCE[on.type]
        self._factor = factor
        # On a GPU, two: one batch is put together and sent while the other is computed, each in a stream of its own.
        self._threads = (threads or torch.get_num_threads()) if on.type == "cpu" else 2
        self._cascade = Cascade(networks_on(on, half=half), thresholds, factor)
        self._pool = ThreadPoolExecutor(self._threads, "faces", initializer=_start_thread, initargs=(on,))

    def detect(self, images: Sequence[Image], min_faces: Sequence[float]) -> list[Faces]:
        """The faces of each image, in order; sizes may differ.

        Args:
            images: RGB uint8, each (height, width, 3).
            min_faces: shorter side of the smallest face that is looked for in each of them, in pixels.
        """
        alike = [(image.shape, size) for image, size in zip(images, min_faces, strict=True)]

        def work(members: Sequence[int]) -> list[Faces]:
            return self._cascade.detect([images[i] for i in members], min_faces[members[0]])

        return self._in_batches(
            alike, [self._fits(image, size) for image, size in zip(images, min_faces, strict=True)], work
        )

    def settle(self, images: Sequence[Image], boxes: Sequence[NDArray[np.float32]], score: float) -> list[Faces]:
        """O-Net's boxes, scores and landmarks for one given box (4,) per image; none where its score is lower."""

        def work(members: Sequence[int]) -> list[Faces]:
            return self._cascade.settle([images[i] for i in members], np.stack([boxes[i] for i in members]), score)

        return self._in_batches([image.shape for image in images], [self._fits(image) for image in images], work)

    def _fits(self, image: Image, min_face: float = float("inf")) -> int:
        """How many images like this one may go through the cascade together."""
        pixels = image.shape[0] * image.shape[1]
        cells = pixels * (NET_SIDE / min_face) ** 2 / (1 - self._factor**2)
        return max(1, min(self._batch, int(self._pixels / max(pixels, cells, 1))))

    def _in_batches(
        self, alike: Sequence[object], fits: Sequence[int], work: Callable[[Sequence[int]], list[Faces]]
    ) -> list[Faces]:
        """The results of `work` on batches of indices whose entries in `alike` are equal."""
        groups: dict[object, list[int]] = defaultdict(list)
        for index, key in enumerate(alike):
            groups[key].append(index)
        batches: list[list[int]] = []
        for members in groups.values():
            # A batch for each thread before any is full.
            size = min(fits[members[0]], -(-len(members) // self._threads))
            batches += [members[start : start + size] for start in range(0, len(members), size)]
        found = [Faces.none()] * len(alike)
        results = self._pool.map(lambda batch: _halved_if_too_large(work, batch), batches)
        for batch, faces in zip(batches, results, strict=True):
            for index, one in zip(batch, faces, strict=True):
                found[index] = one
        return found


def _start_thread(device: torch.device) -> None:
    if device.type == "cpu":
        torch.set_num_threads(1)  # of this thread's operations: the batches share the cores, not the operations
    else:
        _own.stream = torch.cuda.Stream(device)


def _halved_if_too_large(work: Callable[[Sequence[int]], list[Faces]], batch: Sequence[int]) -> list[Faces]:
    """The results of `work`, in two halves when the GPU's memory is too small for the whole."""
    stream: Any = getattr(_own, "stream", None)
    with nullcontext() if stream is None else torch.cuda.stream(stream):
        try:
            return work(batch)
        except torch.cuda.OutOfMemoryError:
            if len(batch) < 2:
                raise
        torch.cuda.empty_cache()
        middle = len(batch) // 2
        _log.warning("the GPU's memory is too small for %d photos at once: taking %d", len(batch), middle)
        return work(batch[:middle]) + work(batch[middle:])
