"""Nothing that faceline uses calls its makers unless the user asks for the network."""

import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
OFFLINE = """
import os, socket, sys

def refuse(*where, **_):
    with open(sys.argv[1], "a") as calls:  # also from the processes that this one starts
        print(where, file=calls)
    raise OSError("no network")

socket.getaddrinfo = socket.socket.connect = refuse
"""


@pytest.mark.parametrize(
    "work",
    [
        "from detect.networks import OpenVinoNetworks; OpenVinoNetworks()",
        "from classify.inference.conversion import to_openvino\n"
        "from tests.classify.inference.test_runtime import network\nto_openvino(network(), flip=False)",
        "import classify.data.transforms, classify.masks.synthesis, classify.training.trainer",
        "import pipeline.commands.predict, pipeline.commands.run, pipeline.commands.train",
    ],
)
def test_nobody_is_called(work, tmp_path):
    if "openvino" in work.lower():
        pytest.importorskip("openvino")
    calls = tmp_path / "calls"
    words = [sys.executable, "-c", f"{OFFLINE}\n{work}", str(calls)]
    made = subprocess.run(words, cwd=HOUSE, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert not calls.exists(), calls.read_text()
