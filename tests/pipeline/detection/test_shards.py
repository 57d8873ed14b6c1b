"""Processes that do not know of each other share the work."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from cache.errors import UsageError
from cache.verify import verify
from pipeline.detection.shards import parse_shard
from pipeline.intake.photo import Photo
from tests.pipeline.conftest import faceline

HOUSE = Path(__file__).parents[3]
PHOTOS = 90
ANOTHER_CROP = ["--set", "crop.max_height=64", "--device", "cpu"]
NUMBERS = [
    ["000004", "000005", "000008"],
    ["000006", "000007", "000014"],
    ["000002", "000003", "000010"],
    ["000000", "000001", "000012"],
]


@pytest.fixture(scope="module")
def photos(drawn, tmp_path_factory):
    """Small photos, and a twin of the first one."""
    folder = tmp_path_factory.mktemp("shards") / "photos"
    folder.mkdir()
    source = next((drawn / "eval" / "images").glob("*.jpg"))
    Image.open(source).resize((96, 128)).save(folder.parent / "small.jpg")
    small = (folder.parent / "small.jpg").read_bytes()
    for number in range(PHOTOS):
        (folder / f"{number:02}.jpg").write_bytes(small + max(number, 1).to_bytes(2, "big"))
    return folder


@pytest.fixture
def cache(detected, tmp_path):
    """Subjects without crops: shards cut them and need no networks, which take seconds to load."""
    return shutil.copytree(detected, tmp_path / "shared")


@pytest.fixture(scope="module")
def detected(photos, tmp_path_factory):
    cache = tmp_path_factory.mktemp("shards") / "cache"
    faceline("detect", photos, "--cache", cache, "--device", "cpu", "--quiet")
    shutil.rmtree(cache / "crops")
    return cache


def test_shards_divide_the_photos_and_do_not_depend_on_the_others():
    names = [f"train/images/{number:06}_\xe9/normal.jpg" for number in range(1000)] + [
        "bytes \udcff.jpg",
        "half \ud83d",
    ]
    photos = [Photo(Path(name), name, "somebody") for name in names]
    shards = [parse_shard(f"{number}/4").photos(photos) for number in range(1, 5)]
    assert sorted(photo.name for shard in shards for photo in shard) == sorted(names)
    assert all(len(shard) > 180 for shard in shards)
    assert parse_shard("2/4").photos(photos[500:]) == [photo for photo in shards[1] if photo in photos[500:]]
    numbers = [[photo.name[13:19] for photo in shard[:3]] for shard in shards]
    assert numbers == NUMBERS, "machines of another version must agree"


def all_photos(folder):
    return [Photo(path, path.name, "somebody") for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("text", ["", "2", "0/4", "5/4", "-1/4", "1/0", "0/0", "a/b", "1/4/2", " 1/4", "1.0/4"])
def test_a_shard_that_makes_no_sense_is_refused(text, drawn):
    error = faceline("detect", drawn, "--shard", text, ok=False).exception
    assert isinstance(error, UsageError)
    assert "--shard" in str(error)


def test_a_shard_detects_its_own_photos_and_says_what_comes_next(photos, cache):
    words = ["detect", photos, "--cache", cache, "--shard", "2/3", *ANOTHER_CROP]
    printed = faceline(*words).stdout
    [next_line] = [line for line in printed.splitlines() if line.startswith(f"Next: faceline detect {photos} ")]
    assert "--shard" not in next_line
    assert "That was shard 2/3." in printed
    summary = json.loads(faceline(*words, "--json").stdout)
    assert (summary["shard"], summary["cut"]) == ("2/3", 0)
    assert summary["photos"] == len(parse_shard("2/3").photos(all_photos(photos)))


def test_a_shard_may_have_no_photos(photos, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    (few / "one.jpg").write_bytes((photos / "00.jpg").read_bytes())
    counts = [
        json.loads(faceline("detect", few, "--shard", f"{number}/2", "--json", "--device", "cpu").stdout)["photos"]
        for number in (1, 2)
    ]
    assert sorted(counts) == [0, 1]


def test_shards_at_the_same_time_leave_a_whole_cache_and_a_run_without_one_makes_what_is_left(photos, cache):
    words = [sys.executable, "-m", "pipeline", "detect", photos, "--cache", cache, "--json", *ANOTHER_CROP]
    environment = {**os.environ, "PYTHONPATH": str(HOUSE)}
    # Of five shards, one runs twice at the same time and one not at all.
    running = [
        subprocess.Popen([*words, "--workers", "1", "--shard", f"{number}/5"], cwd=HOUSE, env=environment,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for number in (1, 2, 2, 4, 5)
    ]  # fmt: skip
    for process in running:
        _, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
    others = [photo for n in (1, 2, 4, 5) for photo in parse_shard(f"{n}/5").photos(all_photos(photos))]
    made = {photo.path.read_bytes() for photo in others}
    summary = json.loads(faceline(*words[3:]).stdout)
    assert (summary["photos"], summary["cut"]) == (PHOTOS, PHOTOS - 1 - len(made))
    assert verify(cache).damaged == ()
    manifests = [path.read_text() for path in cache.glob("crops/*/units/*/*/manifest.jsonl")]
    lines = (line for manifest in manifests for line in manifest.splitlines()[:-1])
    held = Counter(json.loads(line)["source"] for line in lines)
    assert len(held) == PHOTOS - 1
    assert sum(held.values()) <= PHOTOS, "only the twins may be there twice, when their shards differ"
