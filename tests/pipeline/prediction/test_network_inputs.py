import threading
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from cache.errors import CacheError
from cache.unit import Entry
from pipeline.prediction import network_inputs
from pipeline.prediction.network_inputs import network_inputs as inputs_of

NETWORKS = [SimpleNamespace(model=SimpleNamespace(input=size, zoom=1.0)) for size in [(8, 6), (16, 12), (8, 6)]]
ENTRIES = [Entry(str(number), "", "ok", {}) for number in range(11)]


class Store:
    """Crops that are as bright as their number."""

    def __init__(self, damaged=()):
        self.damaged, self.read_so_far, self.lock = damaged, [], threading.Lock()

    def read(self, source):
        with self.lock:
            self.read_so_far.append(int(source))
        if int(source) in self.damaged:
            raise CacheError(f"crop {source} is damaged")
        return cv2.imencode(".jpg", np.full((32, 24, 3), 20 * int(source), np.uint8))[1].tobytes()

    def reads_up_to(self, count):
        deadline = time.monotonic() + 20
        while len(self.read_so_far) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)  # for one more, if it reads too far
        return sorted(self.read_so_far) == list(range(count))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(network_inputs, "PHOTOS_AT_ONCE", 4)


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_each_view_has_its_inputs_in_the_order_of_the_photos(ahead):
    chunks = list(inputs_of(ENTRIES, Store(), NETWORKS, threads=3, ahead=ahead))
    assert [len(pixels) for chunk in chunks for pixels in chunk.values()] == [4, 4, 4, 4, 3, 3]
    for size in [(8, 6), (16, 12)]:
        pixels = np.concatenate([chunk[size, 1.0] for chunk in chunks])
        assert pixels.shape == (11, *size, 3)
        assert pixels[:, 0, 0, 0] == pytest.approx(20 * np.arange(11), abs=2)


@pytest.mark.parametrize("ahead", [0, 1])
def test_the_next_chunk_and_no_more_is_made_while_the_networks_predict_one(ahead):
    store = Store()
    chunks = inputs_of(ENTRIES, store, NETWORKS, threads=2, ahead=ahead)
    for done in (1, 2):
        next(chunks)
        assert store.reads_up_to(min(4 * (done + ahead), 11))


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_damaged_crop_is_an_error_before_its_chunk_and_ends_the_reading(ahead):
    store = Store(damaged={5})
    chunks = inputs_of(ENTRIES, store, NETWORKS, threads=1, ahead=ahead)
    next(chunks)
    with pytest.raises(CacheError, match="crop 5 is damaged"):
        next(chunks)
    assert len(list(chunks)) == 0
