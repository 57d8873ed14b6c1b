"""`torchrun -m pipeline run` with two processes leaves what one leaves, also when one of the two is killed."""

import json
import os
import signal
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import load_file

from cache.errors import UsageError
from classify.data.training_set import DrawnMasks, NetworkData
from classify.distributed import Ranks
from pipeline.context import RunContext
from pipeline.settings import load_settings
from pipeline.training.network_data import as_message, share_with_ranks
from tests.pipeline.conftest import faceline
from tests.torchrun import REPOSITORY, process_of_rank, start_two

TOLERANCE = 1e-4  # of losses, scores and weights
SETTINGS = ("model.backbone=test_convnext", "model.pretrained=false", "model.dropout=0", "model.input=[64,48]",
            "train.epochs=3", "train.batch=15", "train.loss=f1", "train.cutmix=0.5",
            "tasks.age.head={kind: years, spread: 2.5}")  # fmt: skip


def words(finished, run):
    options = [word for setting in SETTINGS for word in ("--set", setting)]
    return ["run", finished.data, "--out", run, "--cache", finished.cache, "--device", "cpu", "--json", *options]


def files_of(run):
    # A kill in the middle of an atomic write leaves a hidden temporary file, with one process as with two.
    files = (path for path in run.rglob("*") if path.is_file() and not path.name.startswith("."))
    return sorted(str(path.relative_to(run)) for path in files)


def lines_of(run):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the process to kill in /proc")
def test_two_processes_of_which_one_is_killed_leave_the_run_of_one(finished, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    faceline(*words(finished, one))
    torchrun = start_two("pipeline", *words(finished, two), restarts=1)
    while not (two / "metrics.jsonl").exists() and torchrun.poll() is None:
        time.sleep(0.01)
    os.kill(process_of_rank(1, torchrun), signal.SIGKILL)
    stdout, stderr = torchrun.communicate(timeout=300)
    assert torchrun.returncode == 0, stderr[-3000:]
    assert "exitcode: -9" in stderr, "it was killed"

    assert files_of(two) == files_of(one)
    assert (two / "folds.csv").read_bytes() == (one / "folds.csv").read_bytes()
    for ours, theirs in zip(lines_of(two), lines_of(one), strict=True):
        assert ours == pytest.approx(theirs, abs=TOLERANCE)
    for path in sorted((one / "bundle").glob("*.safetensors")):
        ours, theirs = load_file(two / "bundle" / path.name), load_file(path)
        assert ours.keys() == theirs.keys()
        assert all((value.double() - theirs[name].double()).abs().max() < TOLERANCE for name, value in ours.items())
    [last_word] = stdout.splitlines()
    assert json.loads(last_word)["run"] == str(two), "only rank 0 speaks"
    assert stderr.count("mask: epoch 3 of 3, loss") == 1
    record = json.loads((two / "run.json").read_text())
    assert (record["status"], record["processes"]) == ("finished", 2)


def test_what_rank_0_finds_wrong_is_said_once_and_ends_all(tmp_path):
    (tmp_path / "data").mkdir()
    torchrun = start_two("pipeline", "train", tmp_path / "data", "--out", tmp_path / "run", "--device", "cpu")
    stdout, stderr = torchrun.communicate(timeout=300)
    assert torchrun.returncode
    assert stdout == ""
    assert stderr.count("faceline: ") == stderr.count("holds no photos") == 1
    assert str(REPOSITORY / "pipeline") not in stderr, "a traceback of ours"


class OtherRank:
    """Rank 1, and the message that it would receive from rank 0."""

    rank, world_size = 1, 2

    def __init__(self, value):
        self._value = value

    def broadcast(self, _):
        return self._value


@pytest.fixture
def data(tmp_path):
    """What rank 0 has of two samples and two tasks, a drawn mask's landmarks among it."""
    np.save(tmp_path / "pixels.npy", np.ones((2, 4, 3, 3), np.uint8))
    masks = DrawnMasks(np.full((2, 5, 2), np.nan, np.float32), 0.5, {"cloth": 1.0}, {"right": 1.0}, 0, {"right": 1})
    return NetworkData(
        np.load(tmp_path / "pixels.npy", mmap_mode="r"),
        np.array([[0, 1], [1, -1]]),
        np.array([[np.nan, 20.0], [np.nan, np.nan]]),
        np.array([[True, True], [True, False]]),
        np.array([[0, 1], [2, -1]]),
        np.array([0]),
        np.array([1]),
        np.array([0.5, 0.25]),
        masks,
    )


def test_the_other_processes_have_what_rank_0_has(data, tmp_path):
    (tmp_path / "config.yaml").touch()
    ours = share_with_ranks(None, tmp_path, OtherRank(json.loads(json.dumps(as_message(data)))))
    rows = ("pixels", "codes", "numbers", "label_mask", "augmentation_groups", "train", "validate", "sampling_weights")
    for name in rows:
        np.testing.assert_array_equal(getattr(ours, name), getattr(data, name))
        assert getattr(ours, name).dtype == getattr(data, name).dtype
    np.testing.assert_array_equal(ours.masks.landmarks, data.masks.landmarks)
    assert replace(ours.masks, landmarks=0) == replace(data.masks, landmarks=0)


def test_the_other_processes_have_the_surroundings_of_the_inputs(data, tmp_path):
    (tmp_path / "config.yaml").touch()
    np.save(tmp_path / "wide.npy", np.arange(2 * 8 * 5 * 3, dtype=np.uint8).reshape(2, 8, 5, 3))
    wide = np.load(tmp_path / "wide.npy", mmap_mode="r")
    data = replace(data, wide=wide, pixels=wide[:, 2:-2, 1:-1])
    ours = share_with_ranks(None, tmp_path, OtherRank(json.loads(json.dumps(as_message(data)))))
    np.testing.assert_array_equal(ours.wide, data.wide)
    np.testing.assert_array_equal(ours.pixels, data.pixels)
    assert ours.margin == (2, 1)


def test_a_process_that_does_not_see_the_run_or_the_pack_names_it(data, tmp_path):
    ranks = OtherRank(as_message(data))
    with pytest.raises(UsageError, match=r"rank 1 on .* does not see .*config\.yaml: --out and --cache"):
        share_with_ranks(None, tmp_path, ranks)
    (tmp_path / "config.yaml").touch()
    (tmp_path / "pixels.npy").unlink()
    with pytest.raises(UsageError, match=r"does not see .*pixels\.npy"):
        share_with_ranks(None, tmp_path, ranks)


def test_a_pack_in_memory_can_not_be_shared(data):
    with pytest.raises(UsageError, match=r"the cache can't be written.*--cache"):
        as_message(replace(data, pixels=np.zeros((2, 4, 3, 3), np.uint8)))


def test_each_process_of_a_machine_has_its_own_gpu_and_its_part_of_the_workers(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    context = RunContext(load_settings(None, ()), tmp_path, workers=8, ranks=Ranks(3, 4, 1, 2))
    assert (context.torch_device(), context.loader_workers()) == ("cuda:1", 4)
    assert replace(context, device="cpu").torch_device() == "cpu"
    with pytest.raises(UsageError, match="cuda:0 is one GPU for 4 processes"):
        replace(context, device="cuda:0").torch_device()
    with pytest.raises(UsageError, match="3 processes and 2 GPUs on this machine: use --nproc-per-node 2"):
        replace(context, ranks=Ranks(2, 3, 2, 3)).torch_device()
