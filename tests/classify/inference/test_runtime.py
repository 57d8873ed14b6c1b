"""OpenVINO answers as torch does, whatever the head, and its conversions are kept and checked."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from classify.config import HeadConfig, ModelConfig, TaskConfig
from classify.inference import kept_conversions, runtime
from classify.inference.bundle import trained_network
from classify.inference.kept_conversions import FOLDER, WEIGHTS, conversion_key, converted
from classify.inference.runtime import BATCH, SINGLY, OpenVinoRuntime, TorchRuntime, runtimes_of
from classify.models.backbones import build_network
from classify.models.network_plan import plan_networks

pytest.importorskip("openvino")

MODEL = ModelConfig(backbone="test_resnet", pretrained=False, input=(32, 24))
RNG = np.random.default_rng(3)
COUNT = BATCH + SINGLY + 3
# Noise of different colours: of the same colour, all of it would have the same answer.
PIXELS = (RNG.integers(0, 200, (COUNT, 1, 1, 3)) + RNG.integers(0, 56, (COUNT, 32, 24, 3))).astype(np.uint8)


def network(kind="classes", sharing="separate", seed=0):
    model = MODEL.model_copy(update={"sharing": sharing})
    age = TaskConfig(
        classes=("<30", "30-59", ">=60"),
        edges=(30, 60),
        head=HeadConfig(kind=kind, spread=2.0 if kind == "years" else 0.0),
        model=model,
    )
    smile = TaskConfig(classes=("no", "yes"), model=model)
    [plan] = plan_networks({"age": age} if sharing == "separate" else {"age": age, "smile": smile})
    torch.manual_seed(seed)
    made = build_network(plan.model, plan.heads.outputs, pretrained=False)
    trained = trained_network(plan, "age", made.eval())
    # A fresh network hardly depends on its input: give each output a mean of 0 and a deviation of 1 over the inputs.
    head = made.get_classifier()
    with torch.no_grad():
        torch.nn.init.normal_(head.weight)
        outputs = made(trained.normalise(torch.from_numpy(PIXELS)))
        head.bias.copy_((head.bias - outputs.mean(0)) / outputs.std(0))
        head.weight.div_(outputs.std(0)[:, None])
    return trained


@pytest.mark.parametrize(
    ("kind", "sharing", "flip"),
    [
        ("classes", "separate", False), ("classes", "separate", True), ("years", "separate", True),
        ("ordinal", "separate", False), ("coral", "separate", True), ("classes", "shared", True),
        ("classes", "joint", True),
    ],
)  # fmt: skip
def test_openvino_gives_torchs_probabilities(kind, sharing, flip):
    trained = network(kind, sharing)
    expected = TorchRuntime(trained, "cpu", flip=flip).probabilities(PIXELS)
    found = OpenVinoRuntime(trained, flip=flip, threads=1).probabilities(PIXELS)
    assert [part.shape for part in found] == [part.shape for part in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert theirs.std(axis=0).max() > 0.01, "the answers differ from photo to photo"
        assert np.abs(ours - theirs).max() < 1e-4
        assert (ours.argmax(1) == theirs.argmax(1)).all()


@pytest.mark.parametrize("count", [0, 1, SINGLY, SINGLY + 1, BATCH, len(PIXELS)])
def test_batches_of_any_size_have_the_same_answers(count):
    runtime = OpenVinoRuntime(network(), flip=True, threads=1)
    [every] = runtime.probabilities(PIXELS)
    rows = RNG.permutation(len(PIXELS))[:count]
    [chosen] = runtime.probabilities(PIXELS, rows)
    assert chosen.shape == (count, 3)
    assert np.abs(chosen - every[rows]).max(initial=0) < 1e-5


def test_threads_share_a_runtime():
    runtime = OpenVinoRuntime(network(), flip=False, threads=2)
    [expected] = runtime.probabilities(PIXELS)
    with ThreadPoolExecutor(4) as pool:
        for [found] in pool.map(runtime.probabilities, [PIXELS] * 12):
            assert np.abs(found - expected).max() < 1e-5


def test_a_cpu_takes_openvino_where_it_is_installed_and_torch_elsewhere(monkeypatch):
    assert [runtime.name for runtime in runtimes_of([network()], "cpu", flip=True, threads=1)] == ["openvino"]
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert [runtime.name for runtime in runtimes_of([network()], "cpu", flip=True, threads=1)] == ["torch"]


def outputs(model):
    import openvino

    model.reshape([len(PIXELS), 32, 24, 3])
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(model, "CPU", options)([PIXELS])[0]


def test_a_conversion_is_kept_and_read_by_the_next_process(tmp_path, monkeypatch):
    trained = network()
    first = outputs(converted(trained, flip=True, cache=tmp_path))
    monkeypatch.setattr(kept_conversions, "to_openvino", lambda *_, **__: pytest.fail("it was converted again"))
    assert (outputs(converted(trained, flip=True, cache=tmp_path)) == first).all()


def test_a_damaged_conversion_is_not_used_and_made_again(tmp_path):
    trained = network()
    first = outputs(converted(trained, flip=False, cache=tmp_path))
    [weights] = (tmp_path / FOLDER).rglob(WEIGHTS)
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 0xFF
    weights.write_bytes(content)
    assert (outputs(converted(trained, flip=False, cache=tmp_path)) == first).all()
    assert weights.read_bytes() != bytes(content), "the damaged file was replaced"


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert outputs(converted(network(), flip=False, cache=tmp_path / "cache")).shape == (len(PIXELS), 3)


def test_whatever_changes_the_answers_changes_the_name():
    trained = network()
    keys = {
        conversion_key(trained, flip=False),
        conversion_key(trained, flip=True),
        conversion_key(network(seed=1), flip=False),
        conversion_key(network("years"), flip=False),
        conversion_key(network(sharing="joint"), flip=False),
        conversion_key(replace(trained, normalise=replace(trained.normalise, std=(1.0, 1.0, 1.0))), flip=False),
    }
    assert len(keys) == 6
    assert conversion_key(network(), flip=False) in keys


def test_bfloat16_gives_nearly_the_same_where_the_processor_has_it_and_the_same_elsewhere(monkeypatch):
    trained = network()
    full, reduced = (
        OpenVinoRuntime(trained, flip=True, threads=1, precision=precision).probabilities(PIXELS)[0]
        for precision in ("fp32", "bf16")
    )
    if runtime.precision_on("cpu", "bf16") == "bf16":
        assert 0 < np.abs(full - reduced).max() < 0.05
    monkeypatch.setattr(runtime, "_has_bf16", lambda: False)
    assert runtime.precision_on("cpu", "bf16") == "fp32"
    [without] = runtimes_of([trained], "cpu", flip=True, threads=1, precision="bf16")
    assert np.array_equal(without.probabilities(PIXELS)[0], full)


IN_THREADS = """
import os, sys, threading
from pathlib import Path
import openvino
from tests.classify.inference.test_runtime import OpenVinoRuntime, network

OpenVinoRuntime(network(), flip=False, threads=2, cache=Path(sys.argv[1])).load()
sys.setswitchinterval(1e-6)
barrier = threading.Barrier(8)

def compute():
    barrier.wait()
    openvino.Type.f32.to_dtype()  # as a request does with its inputs

threads = [threading.Thread(target=compute) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_that_start_at_once_do_not_wait_for_each_other_for_ever(tmp_path):
    converted(network(), flip=False, cache=tmp_path)
    words = [sys.executable, "-c", IN_THREADS, str(tmp_path)]
    assert subprocess.run(words, cwd=Path(__file__).parents[3], timeout=120, check=False).returncode == 0
