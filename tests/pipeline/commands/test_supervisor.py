"""A photo that makes a decoder crash is named, and all others get their rows."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from PIL import Image as Pillow

HOUSE = Path(__file__).parents[3]
# Stands for a broken library: whoever decodes the file's bytes dies.
CRASH = """
import os, signal
def break_pillow():
    from PIL import Image
    opened = Image.open
    def open(file, *more, **options):
        if b"killer" in file.getvalue():
            os.kill(os.getpid(), signal.SIGSEGV)
        return opened(file, *more, **options)
    Image.open = open
"""


@pytest.fixture
def place(photos, tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(4):
        Pillow.fromarray(photos[number]).save(tmp_path / "photos" / f"{number}.jpg")
    killer = tmp_path / "photos" / "2.jpg"
    killer.write_bytes(killer.read_bytes() + b"killer")
    # Python imports sitecustomize in every process that it starts.
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(CRASH + "break_pillow()\n")
    return tmp_path


def start(place, *words, **options):
    paths = os.pathsep.join(map(str, (place / "site", HOUSE)))
    environment = {**os.environ, "PYTHONPATH": paths, "FACELINE_CACHE": str(place / "cache")}
    command = [sys.executable, "-m", "pipeline", *map(str, words)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, cwd=place, text=True, **{**pipes, **options})


def test_a_photo_that_crashes_the_decoder_is_a_row_and_the_others_are_predicted(finished, place):
    names = "".join(f"photos/{number}.jpg\n" for number in range(4))
    process = start(place, "predict", "-", "--bundle", finished.run / "bundle", "--out", "out", "--device", "cpu")
    _, err = process.communicate(names, timeout=300)
    assert process.returncode == 0, err
    assert "a library crashed (SIGSEGV)" in err
    assert "photos/2.jpg: reading it makes the decoder crash" in err
    rows = pl.read_csv(place / "out" / "predictions.csv")
    assert rows["path"].to_list() == names.splitlines()
    assert rows["status"].to_list() == ["ok", "ok", "unreadable", "ok"]


def test_a_crash_elsewhere_is_an_error_after_the_second_time(place):
    code = (
        "import os, signal\nfrom pipeline.commands.supervisor import run_supervised\n"
        "run_supervised(lambda: os.kill(os.getpid(), signal.SIGSEGV), ['predict'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=HOUSE, check=False)
    assert done.returncode == 1
    assert "crashed again (SIGSEGV)" in done.stderr


WAIT = (
    "import os, sys, time\nfrom pipeline.commands.supervisor import run_supervised\n"
    "def wait():\n    print(os.getpid(), flush=True)\n    time.sleep(60)\n"
    "run_supervised(wait, ['detect'])"
)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_command_ends_with_the_process_that_watches_it(number):
    process = subprocess.Popen([sys.executable, "-c", WAIT], stdout=subprocess.PIPE, text=True, cwd=HOUSE)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    assert child != process.pid
    process.send_signal(number)
    assert process.wait(20) == -number
    for _ in range(200):
        if not Path(f"/proc/{child}").exists():
            break
        time.sleep(0.05)
    else:
        pytest.fail("the command goes on")
    process.stdout.close()


def test_other_commands_are_not_watched_and_exit_codes_pass():
    code = (
        "import os, sys\nfrom pipeline.commands.supervisor import run_supervised\nme = os.getpid()\n"
        "run_supervised(lambda: sys.exit(3 if os.getpid() == me else 4), sys.argv[1:])"
    )
    for word, expected in (("train", 3), ("predict", 4), ("--version", 3)):
        assert subprocess.run([sys.executable, "-c", code, word], cwd=HOUSE, check=False).returncode == expected
