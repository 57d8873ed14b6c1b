"""`faceline serve` as a process, and what it refuses before it loads anything."""

import importlib.util
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image as Pillow

from cache.errors import BundleError, UsageError
from classify.inference.bundle import save_bundle
from faceline import Predictor
from pipeline.commands import serve as command
from tests.pipeline.conftest import faceline
from tests.pipeline.prediction.test_engine import bundle as random_bundle
from tests.pipeline.serving.stub import ask, form

HOUSE = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve") / "bundle"
    save_bundle(folder, random_bundle())
    return folder


def test_requests_under_way_are_answered_before_the_process_ends(bundle, photos):
    files = []
    for photo in photos[:4]:
        file = io.BytesIO()
        Pillow.fromarray(photo).save(file, "JPEG")
        files.append((f"{len(files)}.jpg", file.getvalue()))
    body, kind = form(*files)
    words = [sys.executable, "-m", "pipeline", "serve", str(bundle), "--port", "0", "--json", "--device", "cpu"]
    environment = {name: value for name, value in os.environ.items() if name != "FACELINE_TOKEN"}
    with subprocess.Popen(
        words, cwd=HOUSE, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server, ThreadPoolExecutor() as pool:  # fmt: skip
        try:
            said = json.loads(server.stdout.readline())
            assert said["token"] is None
            port = int(said["url"].rstrip("/").rsplit(":", 1)[1])
            answered = pool.submit(ask, port, "POST", "/predict", body, Content_Type=kind, timeout=120)
            while "faceline_batch_photos_count 1.0" not in ask(port, path="/metrics")[2]:
                time.sleep(0.005)
            server.send_signal(signal.SIGTERM)
            status, _, answer = answered.result()
            _, errors = server.communicate(timeout=120)
        finally:
            server.kill()
    assert (status, server.returncode) == (200, 0)
    assert errors == "stopping; requests under way are answered first\n"
    expected = Predictor(bundle, device="cpu").predict([content for _, content in files]).to_dicts()
    for prediction, found in zip(expected, answer["predictions"], strict=True):
        assert found["box"] == pytest.approx(prediction["box"])
        for task, predicted in prediction["tasks"].items():
            assert found["tasks"][task]["label"] == predicted["label"]
            assert found["tasks"][task]["probabilities"] == pytest.approx(predicted["probabilities"], abs=1e-4)


def test_what_cannot_be_served_is_refused_before_anything_is_loaded(bundle, tmp_path, monkeypatch):
    with pytest.raises(BundleError, match="is no bundle: it holds no bundle"):
        faceline("serve", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} of 127.0.0.1 is in use"):
            faceline("serve", bundle, "--port", port)
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None if name == "uvicorn" else object())
    with pytest.raises(UsageError, match=r'^faceline serve needs an extra: pip install "faceline\[serve\]"$'):
        faceline("serve", bundle)


def test_the_packages_it_looks_for_are_those_of_the_extra():
    assert all(importlib.util.find_spec(package) for package in command.PACKAGES)
