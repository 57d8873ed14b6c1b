"""Kills and failing disks, injected from outside into real system calls."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cache.store import CropStore, FactStore
from cache.verify import verify
from tests.cache.conftest import SPEC, crop, source
from tests.cache.writer import FACTS, commit_all

HERE = Path(__file__).parents[2]
STRACE = shutil.which("strace")
# The calls by which a commit changes the disk.
CALLS = ["openat", "write", "fsync", "mkdir", "rename", "link", "unlink"]


@pytest.fixture(scope="session")
def tracing():
    """Skips if processes can't be traced, as in many containers."""
    if not STRACE or subprocess.run([STRACE, "-o", os.devnull, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace is missing or not allowed")


def run_traced(root, *options):
    """Run the writer in one thread, so that its calls have a fixed order; returns its exit code and stderr."""
    words = [STRACE, "-f", *options, sys.executable, "-c", PROGRAM, root]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=HERE, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


# Crops are written in the main thread, since strace counts the calls of each thread separately.
PROGRAM = """
import os, sys
from pathlib import Path
import cache.unit
from tests.cache.writer import commit_all

class SingleThread:
    def __init__(self, _): pass
    def __enter__(self): return self
    def __exit__(self, *_): pass
    map = staticmethod(map)

cache.unit.ThreadPoolExecutor = SingleThread
os.chdir("/")
commit_all(Path(sys.argv[1]))
"""


def traced_calls(root, tmp_path):
    """Trace an undisturbed run; returns the lines and the index at which the imports are over."""
    trace = tmp_path / "trace"
    names = ",".join([*CALLS, "chdir", "close"])
    code, stderr = run_traced(root, "-y", "-o", trace, "-e", f"trace={names}")
    assert code == 0, stderr
    lines = [line.partition(" ")[2].strip() for line in trace.read_text().splitlines()]
    [begin] = [number for number, line in enumerate(lines) if line.startswith('chdir("/")')]
    return lines, begin


@pytest.mark.parametrize("call", CALLS)
def test_a_kill_at_any_system_call_of_a_commit_leaves_whole_units_and_loses_nothing(tracing, tmp_path, call):
    lines, begin = traced_calls(tmp_path / "whole", tmp_path)
    before = sum(line.startswith(f"{call}(") for line in lines[:begin])
    during = sum(line.startswith(f"{call}(") for line in lines[begin:])
    assert during > 0
    for number in range(before + 1, before + during + 1):
        root = tmp_path / f"{call}{number}"
        code, _ = run_traced(root, "-o", os.devnull, "-e", f"inject={call}:signal=SIGKILL:when={number}")
        assert code != 0, f"{call} {number} was not reached"
        assert verify(root).damaged == ()
        kept = len(CropStore(root, SPEC).entries()), len(FactStore(root, FACTS).entries())
        assert kept[0] in {0, 3, 4} and kept[1] in {0, 3, 4}
        assert len(commit_all(root)) == 4 - kept[0], "what was committed is not made again"
        report = verify(root)
        assert (report.units, report.crops, report.damaged) == (4, 3, ())
        assert CropStore(root, SPEC).read(source(0)) == crop(0)


@pytest.mark.parametrize("call", ["write", "fsync", "mkdir", "rename", "link"])
def test_a_disk_that_fails_to_write_is_reported_and_leaves_whole_units(tracing, tmp_path, call):
    lines, begin = traced_calls(tmp_path / "whole", tmp_path)
    before = sum(line.startswith(f"{call}(") for line in lines[:begin])
    during = sum(line.startswith(f"{call}(") for line in lines[begin:])
    for number in sorted({1, during // 2, during} - {0}):
        root = tmp_path / f"{call}{number}"
        rule = f"inject={call}:error=EIO:when={before + number}"
        code, stderr = run_traced(root, "-o", os.devnull, "-e", rule)
        assert code == 1
        assert "CacheError: cannot write to the cache" in stderr and "Input/output error" in stderr
        assert verify(root).damaged == ()
        commit_all(root)
        assert verify(root).crops == 3


def test_a_disk_that_fails_to_read_is_reported_as_damage(tracing, tmp_path):
    root = tmp_path / "cache"
    commit_all(root)
    program = f"""
import os, sys
from pathlib import Path
from cache.store import CropStore
from tests.cache.conftest import SPEC, source
store = CropStore(Path(sys.argv[1]), SPEC)
store.entries()
os.chdir("/")
store.read(source({0}))
"""
    words = [STRACE, "-f", "-P", next(root.glob(f"crops/*/units/*/*/{source(0)[:16]}.jpg")), "-o", os.devnull,
             "-e", "inject=read:error=EIO", sys.executable, "-c", program, root]  # fmt: skip
    done = subprocess.run(words, cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "can't be read: Input/output error" in done.stderr and "cache verify --repair" in done.stderr


def test_every_staged_file_is_synced_before_it_gets_its_name_and_every_folder_after(tracing, tmp_path):
    lines, begin = traced_calls(tmp_path / "cache", tmp_path)
    root = str(tmp_path / "cache")
    unsynced, shown = set(), 0
    waiting = set()
    for line in lines[begin:]:
        if (opened := re.match(rf'openat\(.*"({root}/[^"]+)", [^)]*O_CREAT', line)) and "ENOENT" not in line:
            unsynced.add(opened[1])
        elif synced := re.match(r"fsync\(\d+<([^>]+)>\)\s+= 0", line):
            unsynced.discard(synced[1])
            waiting.discard(synced[1])
        elif moved := re.match(rf'(?:rename|link)\("({root}/[^"]+)", "({root}/[^"]+)"\)\s+= 0', line):
            late = [file for file in unsynced if file == moved[1] or file.startswith(moved[1] + "/")]
            assert late == [], f"shown before it was synced: {line}"
            waiting.add(str(Path(moved[2]).parent))
            shown += 1
    assert shown == 4 + 3, "two units of facts, two of crops, CACHE.json and two spec.json"
    assert waiting == set(), "a name that a power cut may take back"
