"""The command line as a user meets it: in a process of its own, from another folder, misused, stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from typer.main import get_command

from pipeline.commands import app as cli
from tests.pipeline.conftest import faceline, tiny_options

HOUSE = Path(__file__).parents[3]
COMMANDS = ["demo", "check", "detect", "train", "predict", "run", "evaluate", "compare", "vote", "distill", "cache",
            "labels", "report", "doctor", "runs", "submit", "export", "serve"]  # fmt: skip


def start(*words, cwd=None, **more):
    code = "import sys; from pipeline.commands.app import main; sys.argv[0] = 'faceline'; main()"
    # As the console script does, without the current folder on the path.
    environment = {**os.environ, "PYTHONPATH": str(HOUSE), "PYTHONSAFEPATH": "1", **more}
    words = [sys.executable, "-P", "-c", code, *map(str, words)]
    return subprocess.Popen(words, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def call(*words, cwd=None, **more):
    process = start(*words, cwd=cwd, **more)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def test_help_names_every_command_in_under_half_a_second():
    times = []
    for _ in range(3):
        started = time.perf_counter()
        code, out, _ = call("--help")
        times.append(time.perf_counter() - started)
    assert code == 0
    assert all(command in out for command in COMMANDS)
    assert min(times) < 0.5
    first_screen = "".join(out.splitlines(keepends=True)[:20])
    assert all(f" faceline {words}" in first_screen for words in ("demo OUT", "check DATA", "run DATA --out RUN"))


def test_the_version_is_one_line_on_stdout():
    code, out, err = call("--version")
    assert (code, err) == (0, "")
    assert out.startswith("faceline ")
    assert out.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    assert "Usage" in faceline(command, "--help").stdout


def test_a_command_offers_its_own_options_and_the_shared_ones_that_it_uses():
    offered = {option for parameter in get_command(cli.app).commands["evaluate"].params for option in parameter.opts}
    assert offered == {"pred", "--truth", "--config", "--set", "--json", "--quiet"}


@pytest.fixture
def users_folder(tmp_path):
    """A folder with files of the user's that are called like our packages."""
    folder = tmp_path / "home"
    for name in ("cache/__init__.py", "detect/notes.txt", "pipeline.py", "classify.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("raise RuntimeError('this is mine')")
    return folder


def test_every_command_works_from_a_folder_with_files_called_like_our_packages(users_folder, finished, tmp_path):
    data, run, options = finished.data, finished.run, ["--cache", finished.cache]
    truth = data / "truth" / "eval.csv"
    tiny = ["--device", "cpu", *tiny_options()]
    for words in [
        ["check", data],
        ["detect", data, *options],
        ["train", data, "--out", "again", *options, *tiny],
        ["run", data, "--out", run, *options, *tiny],
        ["predict", data, "--bundle", run / "bundle", *options],
        ["evaluate", run / "predictions.csv", "--truth", truth],
        ["report", run, *options],
        ["cache", "stats", *options],
        ["cache", "verify", *options],
        ["labels", "suspects", data, "--run", run, "--out", "doubtful", *options],
        ["labels", "tomek", data, "--run", run, "--out", "doubtful", *options],
        ["labels", "apply", "boostcamp", data],
        ["doctor"],
        ["demo", "--help"],
    ]:
        code, _, err = call(*words, cwd=users_folder)
        assert code == 0, (words, err)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "nowhere"], "no folder or table nowhere"),
        (["run", "DATA", "--set", "train.epoch=1"], "did you mean epochs"),
        (["run", "DATA", "--config", "nowhere.yaml"], "no file nowhere.yaml"),
        (["detect", "DATA", "--device", "cuda:77"], "--device cuda:77"),
        (["detect", "DATA", "--workers", "0"], "--workers"),
        (["detect", "DATA", "--sheet", "sheet.gif"], "must end in .png or .jpg"),
        (["evaluate", "nowhere.csv", "--truth", "nowhere.csv"], "no file nowhere.csv"),
        (["demo", "DATA"], "holds something else"),
        (["demo", "new", "--people", "3"], "--people"),
        (["frobnicate"], "frobnicate"),
        (["labels", "apply", "nowhere.csv", "DATA"], "no file nowhere.csv"),
        (["predict", "DATA"], "--bundle"),
    ],
)
def test_wrong_use_is_explained_with_exit_code_2(words, message, drawn, tmp_path):
    code, out, err = call(*[drawn if word == "DATA" else word for word in words], cwd=tmp_path)
    assert code == 2, err
    assert message in " ".join(err.replace("│", " ").split()), err
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "DATA", "--bundle", "nowhere"], "holds no bundle.json"),
        (["report", "nowhere"], "no finished run"),
        (["labels", "suspects", "DATA", "--run", "nowhere", "--out", "out"], "nowhere holds no run"),
        (["check", "EMPTY"], "holds no photos"),
        (["train", "PHOTOS"], "no labelled photos"),
    ],
)
def test_failing_data_is_explained_with_exit_code_1(words, message, drawn, tmp_path):
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "PHOTOS").mkdir()
    Pillow.fromarray(np.zeros((40, 30, 3), np.uint8)).save(tmp_path / "PHOTOS" / "a.png")
    code, out, err = call(*[drawn if word == "DATA" else word for word in words], cwd=tmp_path)
    assert code == 1, err
    assert message in err
    assert "Traceback" not in out + err


def test_debug_shows_the_traceback(tmp_path):
    code, _, err = call("--debug", "report", "nowhere", cwd=tmp_path)
    assert code == 1
    assert "Traceback" in err


def test_quiet_says_nothing_but_results(finished):
    code, out, err = call("detect", finished.data, "--cache", finished.cache, "--quiet", "--json")
    assert code == 0
    assert err == ""
    assert out.count("\n") == 1


def test_quiet_json_is_one_object_on_stdout_and_nothing_on_stderr(finished, tmp_path):
    data, run, cache = finished.data, finished.run, ["--cache", finished.cache]
    for words in [
        ["check", data, *cache],
        ["detect", data, "--sheet", tmp_path / "s.png", *cache],
        ["run", data, "--out", run, "--device", "cpu", *cache, *tiny_options()],
        ["predict", data, "--bundle", run / "bundle", "--out", tmp_path / "p", *cache],
        ["evaluate", tmp_path / "p" / "predictions.csv", "--truth", data / "truth" / "eval.csv"],
        ["labels", "tomek", data, "--run", run, "--out", tmp_path / "t", *cache],
        ["labels", "apply", "boostcamp", data, *cache],
        ["report", run, *cache],
        ["cache", "stats", *cache],
        ["cache", "verify", *cache],
        ["cache", "gc", *cache],
        ["cache", "pack", data, *cache, *tiny_options()],
        ["cache", "export", data, "--out", tmp_path / "e", *cache],
        ["doctor", *cache, *tiny_options()],
    ]:
        printed = faceline(*words, "--json", "--quiet")
        assert isinstance(json.loads(printed.stdout), dict), words
        assert printed.stdout.count("\n") == 1, words
        warnings = [line for line in printed.stderr.splitlines() if not line.startswith("warning: ")]
        assert not warnings, words


def test_a_sheet_is_named_and_is_not_written_when_nothing_was_missed(finished, photos, tmp_path):
    sheet = tmp_path / "sheet.png"
    (tmp_path / "photos").mkdir()
    Pillow.fromarray(np.full((400, 300, 3), 128, np.uint8)).save(tmp_path / "photos" / "wall.png")
    detect = ["detect", tmp_path / "photos", "--cache", tmp_path / "cache", "--sheet", sheet]
    assert f"Sheet: {sheet}, 1 photo in which mtcnn found no face" in faceline(*detect).stdout
    assert sheet.is_file()
    Pillow.fromarray(photos[0]).save(tmp_path / "photos" / "wall.png")
    printed = faceline(*detect, "--json")
    assert (json.loads(printed.stdout)["missed"], json.loads(printed.stdout)["sheet"]) == (0, None)
    assert "No sheet: mtcnn found a face in every photo" in faceline(*detect).stdout
    assert not sheet.exists()


@pytest.mark.parametrize(
    ("stage", "stop"),
    [("detect", signal.SIGINT), ("train", signal.SIGINT), ("predict", signal.SIGINT), ("train", signal.SIGKILL)],
)
def test_a_run_stopped_in_any_stage_goes_on_and_ends_like_an_undisturbed_one(stage, stop, finished, tmp_path):
    run, cache = tmp_path / "run", tmp_path / "cache"
    marks = {"detect": cache / "tmp", "train": run / "mask/last.safetensors", "predict": run / "bundle/bundle.json"}
    if stage != "detect":
        shutil.copytree(finished.cache, cache)
    words = ["run", finished.data, "--out", run, "--cache", cache, "--device", "cpu", *tiny_options()]
    process = start(*words)
    while not marks[stage].exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(stop)
    _, err = process.communicate(timeout=120)
    if stop == signal.SIGINT and process.returncode:  # the last stage may just have ended
        assert process.returncode == 130, err
        assert "the same command goes on" in err
        assert "Traceback" not in err
    code, _, err = call(*words)
    assert code == 0, err
    assert (run / "predictions.csv").read_bytes() == (finished.run / "predictions.csv").read_bytes()
    resumed, expected = ((folder / "metrics.jsonl").read_text().splitlines() for folder in (run, finished.run))
    assert [line.split('"seconds"')[0] for line in resumed] == [line.split('"seconds"')[0] for line in expected]
    assert call("cache", "verify", "--cache", cache)[0] == 0


def test_a_stop_that_a_library_takes_for_a_damaged_file_is_reported_as_a_stop():
    code = """
import signal
from cache.errors import BundleError
import pipeline.commands.app as cli
def read_while_stopped(**_):
    try:
        signal.raise_signal(signal.SIGINT)
    except SystemExit:
        raise BundleError("best.safetensors is damaged") from None
cli.app = read_while_stopped
cli.main()
"""  # in a process of its own, since a signal may end it
    stopped = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert stopped.returncode == 130
    assert "the same command goes on" in stopped.stderr


@pytest.fixture
def small_disk(tmp_path):
    """A file system of two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_while_writing_crops_is_reported_and_the_rerun_completes(small_disk, drawn, tmp_path):
    cache = small_disk / "cache"
    (small_disk / "ballast").write_bytes(bytes(1_700_000))
    code, _, err = call("detect", drawn, "--cache", cache)
    assert code == 1
    assert "No space left" in err
    assert "Traceback" not in err
    assert call("cache", "verify", "--cache", cache)[0] == 0
    (small_disk / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert call("detect", drawn, "--cache", cache)[0] == 0
