from concurrent.futures import ThreadPoolExecutor
from threading import get_ident

import numpy as np
import pytest
import torch

from cache.errors import UsageError
from classify import devices
from classify.devices import compute_in_batches, fastest_precision, in_prediction_thread, to_device

INPUTS = np.arange(40, dtype=np.float32).reshape(20, 2)
ROWS = np.array([3, 19, 0, 0, 7, 8, 9])


@pytest.fixture
def on_gpu(monkeypatch):
    """A GPU without a GPU: pinned memory is ordinary memory, and a copy to it stays on the CPU."""
    copies = []

    def to(tensor, device, non_blocking=False):
        copies.append((str(device), non_blocking))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(torch.Tensor, "to", to)
    return copies


def memory_for_one():
    """A network on a device whose memory is enough for one input, and the list of the batches that it gets."""
    sizes = []

    def compute(batch):
        sizes.append(len(batch))
        if len(batch) > 1:
            raise torch.cuda.OutOfMemoryError("no memory")
        return batch

    return sizes, compute


def test_results_are_in_the_order_of_the_rows(monkeypatch):
    monkeypatch.setitem(devices.BATCH, "cpu", 3)
    assert compute_in_batches(lambda batch: batch + 1, INPUTS, ROWS, "cpu").numpy() == pytest.approx(INPUTS[ROWS] + 1)


def test_batches_are_halved_until_they_fit_and_stay_so(monkeypatch):
    monkeypatch.setitem(devices.BATCH, "cpu", 7)
    sizes, compute = memory_for_one()
    assert compute_in_batches(compute, INPUTS, ROWS, "cpu").tolist() == INPUTS[ROWS].tolist()
    assert sizes == [7, 3, *[1] * len(ROWS)]


def test_a_network_too_large_for_a_single_input_is_refused_in_words():
    def compute(batch):
        raise torch.cuda.OutOfMemoryError("no memory")

    with pytest.raises(UsageError, match="--device cpu"):
        compute_in_batches(compute, INPUTS, ROWS[:1], "cpu")


def test_on_a_gpu_nothing_waits_before_many_batches_are_queued(monkeypatch, on_gpu):
    monkeypatch.setitem(devices.BATCH, "cuda", 1)
    monkeypatch.setattr(devices, "READ_EVERY", 3)
    events = []

    def compute(batch):
        events.append("compute")
        return batch

    def read(tensor):
        events.append("read")
        return tensor

    monkeypatch.setattr(torch.Tensor, "cpu", read)
    compute_in_batches(compute, INPUTS, ROWS, "cuda")
    assert events == [*["compute"] * 3, "read", *["compute"] * 3, "read", "compute", "read"]
    assert on_gpu == [("cuda", True)] * len(ROWS)


@pytest.mark.usefixtures("on_gpu")
def test_a_gpu_gets_batches_of_few_sizes(monkeypatch):
    monkeypatch.setitem(devices.BATCH, "cuda", 6)
    monkeypatch.setattr(devices, "SIZES", (2, 6))
    sizes = []

    def compute(batch):
        sizes.append(len(batch))
        return batch + 1

    for count in (1, 2, 3, 7):
        rows = ROWS[:count]
        assert compute_in_batches(compute, INPUTS, rows, "cuda", fill=True).tolist() == (INPUTS[rows] + 1).tolist()
    assert sizes == [2, 2, 6, 6, 2]
    compute_in_batches(compute, INPUTS, ROWS[:3], "cpu", fill=True)
    assert sizes[5:] == [3]


@pytest.mark.usefixtures("on_gpu")
def test_a_batch_that_does_not_fit_is_not_filled_again(monkeypatch):
    monkeypatch.setattr(devices, "SIZES", (8,))
    sizes, compute = memory_for_one()
    assert compute_in_batches(compute, INPUTS, ROWS[:3], "cuda", fill=True).tolist() == INPUTS[ROWS[:3]].tolist()
    assert sizes == [8, 1, 1, 1]
    assert compute_in_batches(compute, INPUTS, ROWS[:1], "cuda", fill=True).tolist() == INPUTS[ROWS[:1]].tolist()
    assert sizes[4:] == [8, 1]


def test_networks_predict_in_one_thread_on_a_gpu_and_in_the_callers_on_a_cpu(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: chosen.append((device, get_ident())))
    with ThreadPoolExecutor(2) as pool:
        on_cpu = {*pool.map(lambda _: in_prediction_thread(get_ident, "cpu"), range(8))}
        on_gpu = {*pool.map(lambda _: in_prediction_thread(get_ident, "cuda:1"), range(8))}
    assert len(on_gpu) == 1
    assert not on_gpu & {*on_cpu, get_ident()}
    assert chosen == [("cuda:1", *on_gpu)]


def test_a_copy_to_a_gpu_does_not_wait_and_one_to_the_cpu_copies_nothing(on_gpu):
    values = torch.ones(3)
    assert to_device(values, "cpu") is values
    to_device(values, torch.device("cuda:1"))
    assert on_gpu[-1] == ("cuda:1", True)


@pytest.mark.parametrize(("has_bfloat16", "precision"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_computes_in_its_fastest_format_and_a_cpu_in_float32(monkeypatch, has_bfloat16, precision):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: has_bfloat16)
    assert fastest_precision("cuda:1") == precision
    assert fastest_precision("cpu") == torch.float32
