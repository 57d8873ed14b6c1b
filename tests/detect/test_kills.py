"""Two runs over the same photos, killed at random again and again."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cache.sources import hash_files
from cache.store import CropStore, FactStore
from cache.verify import verify

KILLS, PHOTOS, UNIT = 200, 240, 8
SPEC = {"test": "kills"}

# Forks two runs, kills one of them after a random time, starts it anew, and so on; a cache that is full is followed by
# an empty one. Each photo that a run detects is a line in CACHE.log, with the number of the run.
STORM = f"""
import os, random, signal, sys, time
from pathlib import Path
import cache.store, detect.crops
from cache.sources import hash_files
from detect.config import CropConfig
from detect.subject import Subject

cache.store.UNIT_SIZE = detect.crops.UNIT_SIZE = {UNIT}
photos, folder, chance = Path(sys.argv[1]), Path(sys.argv[2]), random.Random(7)
sources = {{source: path for path, source in hash_files(sorted(photos.iterdir())).items()}}

class Finder:
    def __init__(self, log, run):
        self.log, self.run = log, run
    def find(self, images, are_parts=None):
        for image in images:
            number = int(image[0, 0, 0]) * 256 + int(image[0, 0, 1])
            os.write(self.log, f"{{self.run}} {{number}}\\n".encode())
        time.sleep(0.002)
        return [Subject("fallback") for _ in images]

def run(root, number):
    random.seed(number)
    log = os.open(f"{{root}}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    found, crops = cache.store.FactStore(root, {SPEC}), cache.store.CropStore(root, {SPEC})
    finder = Finder(log, number)
    detect.crops.fill_cache(sources, found, crops, lambda: finder, CropConfig(), threads=1, progress=lambda _: None)
    os._exit(0)

def start(root, number):
    child = os.fork()
    if not child:
        run(root, number)
    return child

runs = kills = caches = 0
while kills < {KILLS}:
    root = folder / str(caches)
    pair = [start(root, runs), start(root, runs + 1)]
    runs += 2
    while True:
        time.sleep(chance.uniform(0.005, 0.08))
        at = chance.randrange(2)
        os.kill(pair[at], signal.SIGKILL)
        ended = os.waitpid(pair[at], 0)[1]
        if ended == 0 or kills == {KILLS}:
            break
        kills += 1
        pair[at] = start(root, runs)
        runs += 1
    os.waitpid(pair[1 - at], 0)
    run_last = start(root, runs)
    runs += 1
    assert os.waitpid(run_last, 0)[1] == 0
    caches += 1
print(kills, runs, caches)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are tried in forks")
def test_two_hundred_kills_of_two_concurrent_runs_lose_nothing_and_repeat_only_what_was_in_flight(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(PHOTOS):
        Image.fromarray(np.full((40, 30, 3), (number // 256, number % 256, 99), np.uint8)).save(
            photos / f"{number}.png"
        )
    sources = hash_files(sorted(photos.iterdir())).values()
    here = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", STORM, photos, tmp_path], cwd=here, capture_output=True, text=True,
                          check=False, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr
    kills, runs, caches = map(int, done.stdout.split())
    assert kills == KILLS
    looked_at_again = 0
    for number in range(caches):
        root = tmp_path / str(number)
        assert verify(root).damaged == ()
        assert CropStore(root, SPEC).missing(sources) == FactStore(root, SPEC).missing(sources) == []
        held = Counter(source for unit in CropStore(root, SPEC).units() for source in (entry.source for entry in unit))
        assert set(held.values()) == {1}
        lines = [line.split() for line in (tmp_path / f"{number}.log").read_text().splitlines()]
        each_run = Counter((run, photo) for run, photo in lines)
        assert max(each_run.values()) == 1, "a run looks at a photo once"
        looked_at_again += len(lines) - PHOTOS
    # A kill costs the unit that is being detected and the one that is being written; and two runs may meet.
    assert looked_at_again <= (kills + runs) * 2 * UNIT
