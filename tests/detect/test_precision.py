"""Faces are looked for in true float32, whatever the process has set for its training."""

import threading

import numpy as np
import pytest
import torch

from detect import mtcnn
from detect.detector import FaceDetector
from detect.networks import TorchNetworks
from detect.precision import true_float32

IMAGES = [np.full((96, 72, 3), 128, np.uint8)]
BACKENDS = torch.backends
SET = {
    "as torch starts": lambda: None,
    "the older way": lambda: (
        setattr(BACKENDS.cuda.matmul, "allow_tf32", True),
        setattr(BACKENDS.cudnn, "allow_tf32", True),
    ),
    "for matrices": lambda: torch.set_float32_matmul_precision("medium"),
    "the newer way": lambda: (
        setattr(BACKENDS.cuda.matmul, "fp32_precision", "tf32"),
        setattr(BACKENDS.cudnn.conv, "fp32_precision", "ieee"),
    ),
}


def answer(read):
    try:
        return read()
    except RuntimeError:  # torch refuses to answer in the older words what was set in the newer ones
        return "mixed"


def settings():
    older = [
        lambda: BACKENDS.cuda.matmul.allow_tf32,
        lambda: BACKENDS.cudnn.allow_tf32,
        torch.get_float32_matmul_precision,
    ]
    newer = [BACKENDS.cuda.matmul, BACKENDS.cudnn.conv, BACKENDS.mkldnn.matmul, BACKENDS.mkldnn.conv]
    return [answer(read) for read in older] + [operation.fp32_precision for operation in newer]


TRUE = [False, False, "highest", "ieee", "ieee", "ieee", "ieee"]


@pytest.fixture
def torchs_settings():
    yield
    for operation in (BACKENDS.cuda.matmul, BACKENDS.cudnn.conv, BACKENDS.mkldnn.matmul, BACKENDS.mkldnn.conv):
        operation.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    BACKENDS.cudnn.allow_tf32 = True


@pytest.mark.parametrize("way", SET)
def test_inside_there_is_no_tf32_and_afterwards_what_was_set_before(way, torchs_settings):
    SET[way]()
    before = settings()
    with true_float32():
        assert settings() == TRUE
        with true_float32():
            pass
        assert settings() == TRUE, "the inner of two blocks ends nothing"
    assert settings() == before
    with pytest.raises(ValueError, match="broken"), true_float32():
        raise ValueError("broken")
    assert settings() == before


def test_of_two_threads_the_last_one_restores(torchs_settings):
    torch.set_float32_matmul_precision("high")
    before, inside, leave = settings(), threading.Event(), threading.Event()

    def stay():
        with true_float32():
            inside.set()
            leave.wait()

    with true_float32():
        thread = threading.Thread(target=stay)
        thread.start()
        inside.wait()
    assert settings() == TRUE
    leave.set()
    thread.join()
    assert settings() == before


@pytest.mark.parametrize("mode", ["portrait", "exact"])
def test_a_cascade_computes_in_float32_in_every_mode(mode, monkeypatch, torchs_settings):
    seen = []

    class Watched(TorchNetworks):
        def run(self, stage, pixels):
            outputs = super().run(stage, pixels)
            weights = [parameter.dtype for net in self._nets for parameter in net.parameters()]
            seen.append(({pixels.dtype, *weights, *(output.dtype for output in outputs)}, settings()))
            return outputs

    monkeypatch.setattr(mtcnn, "networks_on", Watched)
    torch.set_float32_matmul_precision("high")
    with torch.autocast("cpu", torch.bfloat16):
        FaceDetector(mode=mode, device="cpu").detect(IMAGES)
    assert seen
    assert all(dtypes == {torch.float32} and inside == TRUE for dtypes, inside in seen)
    assert torch.get_float32_matmul_precision() == "high"
