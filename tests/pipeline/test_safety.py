"""Nothing is unpickled, and a cache that nobody may write serves training and prediction."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.conftest import faceline, tiny_options

HERE = Path(__file__).parents[2]

# Whatever comes out of an unpickling could be anything, so there must be none once everything is imported.
FORBIDDEN = """
import sys
import albumentations, cv2, sklearn.metrics, timm, torch, facenet_pytorch
from pipeline.commands.app import app
import pickle, _pickle

def refuse(*_, **__):
    raise AssertionError("something was unpickled")

for module in (pickle, _pickle):
    module.load = module.loads = module.Unpickler = refuse
pickle._Unpickler = pickle._load = pickle._loads = refuse
app(sys.argv[1:], standalone_mode=False)
"""


def test_the_whole_chain_runs_with_unpickling_forbidden(drawn, tmp_path):
    words = ["run", drawn, "--out", tmp_path / "run", "--cache", tmp_path / "cache", "--device", "cpu", *tiny_options()]
    done = subprocess.run([sys.executable, "-c", FORBIDDEN, *map(str, words)], cwd=HERE, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "predictions.csv").is_file()


def test_forbidding_it_would_be_noticed():
    words = [sys.executable, "-c", FORBIDDEN.replace("app(sys.argv[1:], standalone_mode=False)", "pickle.loads(b'N.')")]
    assert (
        "something was unpickled" in subprocess.run(words, cwd=HERE, capture_output=True, text=True, check=False).stderr
    )


@pytest.fixture
def read_only(finished, tmp_path):
    """The finished run's cache, without its packs, on a disk that is mounted read-only."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if not mount or subprocess.run([mount, "-t", "tmpfs", "none", disk], check=False, capture_output=True).returncode:
        pytest.skip("a disk can't be mounted here")
    shutil.copytree(finished.cache, disk / "cache", ignore=shutil.ignore_patterns("packs"))
    subprocess.run([mount, "-o", "remount,ro", disk], check=True)
    yield disk / "cache"
    subprocess.run(["umount", disk], check=True)


@pytest.mark.skipif(os.name == "nt", reason="no such disks there")
def test_training_and_prediction_work_from_a_read_only_cache(finished, read_only, tmp_path):
    run = tmp_path / "run"
    faceline("run", finished.data, "--out", run, "--cache", read_only, *tiny_options())
    assert (run / "predictions.csv").read_bytes() == (finished.run / "predictions.csv").read_bytes()
