"""The inputs of a bundle's networks, in chunks, made ahead while the networks predict earlier ones.

In: the photos' entries in the cache. Out: for each chunk of photos, one array for each view that a network needs.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from cache.store import CropStore
from cache.unit import Entry
from classify.inference.bundle import TrainedNetwork
from classify.preprocessing import decode_crop, to_input

PHOTOS_AT_ONCE = 512

View = tuple[tuple[int, int], float]  # (height, width) of an input in pixels, and zoom
Inputs = dict[View, NDArray[np.uint8]]  # (N, H, W, 3) of each view


def view_of(network: TrainedNetwork) -> View:
    """Return what distinguishes the network's inputs from those of other networks with the same crops."""
    return network.model.input, network.model.zoom


def network_inputs(
    entries: Sequence[Entry], store: CropStore, networks: Sequence[TrainedNetwork], *, threads: int, ahead: int
) -> Iterator[Inputs]:
    """Yield the inputs of up to PHOTOS_AT_ONCE photos at a time; every crop is read and decoded once for all networks.

    Args:
        entries: of photos with a crop, in the order of the inputs.
        store: the crops.
        networks: those that need inputs.
        threads: that read, decode and resize.
        ahead: chunks that are made while the caller works on one: 1 keeps a GPU busy, 0 leaves all cores to a network
            on the CPU.

    Raises:
        CacheError: a crop is missing or damaged.
    """
    views = sorted({view_of(network) for network in networks})

    def make(entry: Entry, row: int, inputs: Inputs) -> None:
        crop = decode_crop(store.read(entry.source))
        for (size, zoom), pixels in inputs.items():
            pixels[row] = to_input(crop, size, zoom)

    pool = ThreadPoolExecutor(threads, "inputs")
    begun: deque[tuple[Inputs, list[Future[None]]]] = deque()
    try:
        for start in range(0, len(entries), PHOTOS_AT_ONCE):
            chunk = entries[start : start + PHOTOS_AT_ONCE]
            inputs = {view: np.empty((len(chunk), *view[0], 3), np.uint8) for view in views}
            begun.append((inputs, [pool.submit(make, entry, row, inputs) for row, entry in enumerate(chunk)]))
            if len(begun) > ahead:
                yield _finished(*begun.popleft())
        while begun:
            yield _finished(*begun.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(inputs: Inputs, rows: Sequence[Future[None]]) -> Inputs:
    for row in rows:
        row.result()
    return inputs
