"""A run on a local Ray cluster is the run on one machine, whatever dies; also one of `faceline predict`.

Order matters for time: the cluster is shared, and the last tests kill parts of it.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from cache.config import fingerprint
from cache.errors import DataError, UsageError
from cache.verify import verify
from detect.fingerprints import crop_spec
from pipeline.detection.ray_driver import refuse_unseen
from pipeline.detection.ray_worker import UnitActor, WorkerFailure, WorkerSettings
from pipeline.detection.work_queue import IN_FLIGHT, MOST_DEATHS, WorkQueue
from pipeline.settings import load_settings
from tests.pipeline.conftest import faceline

HOUSE = Path(__file__).parents[3]
PHOTOS = 1100  # five units, one of them short
DRAWN = 7  # each seventh one is a photo
PATIENCE_S = 240

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None or sys.platform != "linux", reason="needs the extra ray, on Linux"
)


def finish(queue, worker):
    """Finish all units of a worker."""
    done = []
    while (unit := queue.next_for(worker)) is not None:
        queue.done(worker, unit)
        done.append(unit)
    return done


def test_a_worker_is_given_so_much_that_it_never_waits_and_no_more():
    queue = WorkQueue(10)
    assert [queue.next_for(1) for _ in range(IN_FLIGHT + 1)] == [0, 1, None]
    assert queue.next_for(2) == 2
    queue.done(1, 0)
    assert queue.next_for(1) == 3


def test_what_a_dead_worker_had_is_done_by_the_living():
    queue = WorkQueue(5)
    for _ in range(IN_FLIGHT):
        queue.next_for(1)
    queue.lost(1)
    assert finish(queue, 2) == [1, 2, 3, 4, 0], "what it was at comes last, for it may be what killed it"
    assert not queue.left


def test_a_unit_that_kills_whoever_is_at_it_is_abandoned_and_takes_no_other_along():
    queue, done = WorkQueue(6), []
    for worker in range(100):
        while (unit := queue.next_for(worker)) not in {None, 3}:
            queue.done(worker, unit)
            done.append(unit)
        if unit is None:
            break
        queue.next_for(worker)  # waits behind it
        queue.lost(worker)
    assert worker == MOST_DEATHS
    assert (sorted(done), queue.abandoned, queue.left) == ([0, 1, 2, 4, 5], [3], False)


def test_a_unit_that_fails_is_tried_by_others_and_then_abandoned():
    queue = WorkQueue(1)
    for worker in range(MOST_DEATHS):
        queue.failed(worker, queue.next_for(worker))
    assert (queue.abandoned, queue.left) == ([0], False)


@needs_ray
@pytest.mark.parametrize(
    ("nodes", "device", "threads", "expected"),
    [
        ([{}, {"CPU": 8.0}, {"CPU": 4.0}], "auto", None, (12, "cpu", 1)),
        ([{"CPU": 8.0}, {"CPU": 7.0}], "cpu", 4, (3, "cpu", 4)),
        ([{"CPU": 64.0}, {"CPU": 64.0, "GPU": 8.0}], "auto", None, (8, "cuda", 8)),
        ([{"CPU": 16.0, "GPU": 8.0}, {"CPU": 96.0, "GPU": 4.0}], "cuda", None, (12, "cuda", 2)),
        ([{"CPU": 4.0, "GPU": 8.0}], "cuda", None, (4, "cuda", 1)),
        ([{"CPU": 4.0, "GPU": 8.0}], "cpu", None, (4, "cpu", 1)),
    ],
)
def test_there_is_an_actor_for_each_gpu_or_else_for_each_cpu(nodes, device, threads, expected):
    from pipeline.detection.ray_pool import plan_actors

    plan = plan_actors(nodes, device, threads)
    assert (plan.count, plan.device, plan.threads) == expected


@needs_ray
@pytest.mark.parametrize(
    ("nodes", "device", "threads", "expected"),
    [
        ([{"CPU": 8.0}], "cuda", None, "no machine of the cluster has a GPU"),
        ([{"CPU": 8.0}], "cpu", 16, "16 CPUs"),
        ([{"CPU": 8.0, "GPU": 1.0}], "cuda:1", None, "--device cuda:1"),
    ],
)
def test_a_cluster_into_which_no_actor_fits_is_named(nodes, device, threads, expected):
    from pipeline.detection.ray_pool import plan_actors

    with pytest.raises(UsageError, match=expected):
        plan_actors(nodes, device, threads)


@needs_ray
@pytest.mark.parametrize(
    "address", [None, "", "local", "ray://somewhere:10001", "127.0.0.2:1", "127.0.0.1:1", "nonsense"]
)
def test_no_cluster_is_ever_started_and_a_wrong_address_is_reported_at_once(address, drawn, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    error = faceline("detect", drawn, "--engine", "ray", ok=False).exception
    assert isinstance(error, UsageError)
    assert "RAY_ADDRESS" in str(error)


def test_without_the_extra_the_command_to_install_it_is_named(drawn, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "localhost:6379")
    monkeypatch.setitem(sys.modules, "ray", None)
    error = faceline("detect", drawn, "--engine", "ray", ok=False).exception
    assert isinstance(error, UsageError)
    assert "pip install 'faceline[ray]'" in str(error)


@pytest.mark.parametrize("words", [["--engine", "dask"], ["--engine", "ray", "--shard", "1/2"]])
def test_engines_that_make_no_sense_are_refused(drawn, words):
    error = faceline("detect", drawn, *words, ok=False).exception
    assert isinstance(error, UsageError)
    assert "--engine" in str(error)


@pytest.fixture(scope="module")
def photos(drawn, tmp_path_factory):
    """Small photos: each seventh one is a drawn person, the others can't be read, which takes no time."""
    folder = tmp_path_factory.mktemp("many") / "photos"
    folder.mkdir()
    small = []
    for number, path in enumerate(sorted((drawn / "eval" / "images").glob("*.jpg"))[:8]):
        Image.open(path).resize((96, 128)).save(folder.parent / f"{number}.jpg", quality=90)
        small.append((folder.parent / f"{number}.jpg").read_bytes())
    for number in range(PHOTOS):
        content = small[number % len(small)] if number % DRAWN == 0 else b"no photo"
        # What follows a JPEG's end changes its hash and nothing else.
        (folder / f"{number:05}.jpg").write_bytes(content + number.to_bytes(4, "big"))
    return folder


def actor(cache, **changes):
    settings = load_settings(None, ())
    spec = crop_spec(settings.detect, settings.crop)
    made = WorkerSettings(str(cache), settings.detect, settings.crop, fingerprint(spec), "cpu", 1, retry=False)
    return UnitActor(replace(made, **changes))


def test_an_actor_that_cannot_write_answers_with_the_sentence(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"no photo")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "tmp").write_text("in the way")  # of every unit that is made
    [source] = actor(tmp_path / "cache").hash_paths([str(tmp_path / "photo.jpg")])
    failure = actor(tmp_path / "cache").make_unit([(source, str(tmp_path / "photo.jpg"))])
    assert isinstance(failure, WorkerFailure)
    assert "cannot write to the cache" in failure.message


def test_an_actor_answers_with_the_photos_that_failed_in_passing_and_leaves_them_out(tmp_path):
    for name in ("gone", "there"):
        (tmp_path / name).write_bytes(f"no photo {name}".encode())
    names = [str(tmp_path / name) for name in ("gone", "there")]
    members = list(zip(actor(tmp_path / "cache").hash_paths(names), names, strict=True))
    (tmp_path / "gone").unlink()
    done = actor(tmp_path / "cache").make_unit(members)
    assert {source: entry.outcome for source, entry in done.failed.items()} == {members[0][0]: "missing"}
    store = actor(tmp_path / "cache")._open_stores()[1]
    assert store.missing([source for source, _ in members]) == [members[0][0]]


def test_an_actor_reads_photos_up_to_the_limit_of_the_settings(tmp_path):
    Image.new("RGB", (100, 100)).save(tmp_path / "photo.png")
    [source] = actor(tmp_path / "cache").hash_paths([str(tmp_path / "photo.png")])
    limited = actor(tmp_path / "cache", max_megapixels=0.009)
    limited.make_unit([(source, str(tmp_path / "photo.png"))])
    assert limited._open_stores()[1].entry(source).outcome == "too_large"


def test_an_actor_of_another_version_of_faceline_takes_no_part(tmp_path):
    failure = actor(tmp_path / "cache", fingerprint="of other crops").begin()
    assert isinstance(failure, WorkerFailure)
    assert "install the same one" in failure.message


def test_an_actor_hashes_what_it_can_read(tmp_path):
    (tmp_path / "there").write_bytes(b"")
    hashes = actor(tmp_path / "cache").hash_paths([str(tmp_path / "gone"), str(tmp_path / "there")])
    assert hashes == [None, hashlib.sha256(b"").hexdigest()]


def test_a_file_that_only_this_machine_sees_is_an_error_that_names_it(tmp_path):
    (tmp_path / "here.jpg").write_bytes(b"")
    refuse_unseen([tmp_path / "nowhere.jpg"])
    with pytest.raises(DataError, match=r"here\.jpg can be read on this machine"):
        refuse_unseen([tmp_path / "nowhere.jpg", tmp_path / "here.jpg"])


@pytest.fixture(scope="module")
def single(photos, tmp_path_factory):
    """The cache of a run on one machine."""
    cache = tmp_path_factory.mktemp("alone") / "cache"
    faceline("detect", photos, "--cache", cache, "--device", "cpu", "--quiet")
    return contents(cache)


@pytest.fixture(scope="module")
def cluster():
    """A running cluster: `kill()` kills one of its two nodes or an actor, `environment` leads there."""
    # Ray's sockets need a short path.
    with tempfile.TemporaryDirectory(prefix="fl-ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        environment = {
            **os.environ, "PYTHONPATH": str(HOUSE), "RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 2,
        }  # fmt: skip
        words = [sys.executable, Path(__file__).with_name("ray_cluster.py")]
        with (
            (Path(folder) / "log").open("wb") as log,
            subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment) as run,
        ):
            assert run.stdin
            assert run.stdout
            try:
                yield Cluster(run, {**environment, "RAY_ADDRESS": json.loads(run.stdout.readline())["address"]})
            finally:
                run.stdin.close()


class Cluster:
    def __init__(self, run, environment):
        self.run, self.environment = run, environment

    def kill(self, what="node"):
        self.run.stdin.write(f"{what}\n".encode())
        self.run.stdin.flush()
        assert len(json.loads(self.run.stdout.readline())["killed"]) >= (2 if what == "node" else 1)

    def detect(self, photos, cache):
        """A driver that has just been started."""
        return self.start("detect", photos, "--cache", cache)

    def start(self, *words):
        command = [sys.executable, "-m", "pipeline", *map(str, words), "--engine", "ray", "--json"]
        return subprocess.Popen(
            command, cwd=HOUSE, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


def result_of(driver):
    stdout, stderr = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 0, stderr
    return json.loads(stdout.splitlines()[-1])


def contents(cache):
    """Everything that is in a cache but its own id, with the bytes of every file."""
    files = (path for part in ("crops", "detect") for path in (cache / part).rglob("*") if path.is_file())
    return {path.relative_to(cache).as_posix(): path.read_bytes() for path in files}


def units_in(cache):
    return len(list(cache.glob("crops/*/units/*/*/manifest.jsonl")))


def wait_for_units(cache, count, driver):
    """Until so many units are committed."""
    begun = time.monotonic()
    while units_in(cache) < count:
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() - begun < PATIENCE_S
        time.sleep(0.02)


def assert_whole(cache, single):
    """The cache is the one of a run on one machine, unit for unit and byte for byte; nothing is there twice."""
    actual = contents(cache)
    assert actual.keys() == single.keys()
    assert [name for name in single if actual[name] != single[name]] == []
    assert verify(cache).damaged == ()
    manifests = [content for name, content in actual.items() if name.startswith("crops") and name.endswith(".jsonl")]
    sources = Counter(line.rpartition(b'"source":')[2] for manifest in manifests for line in manifest.splitlines()[:-1])
    assert len(sources) == PHOTOS
    assert set(sources.values()) == {1}


@needs_ray
def test_two_nodes_leave_the_cache_that_one_machine_leaves(cluster, photos, single, tmp_path):
    summary = result_of(cluster.detect(photos, tmp_path / "cache"))
    assert_whole(tmp_path / "cache", single)
    assert (summary["engine"], summary["actors"], summary["nodes"]) == ("ray", 2, 2)
    assert (summary["photos"], summary["detected"], summary["cut"]) == (PHOTOS, PHOTOS, PHOTOS)
    assert summary["unreadable"] == PHOTOS - len(range(0, PHOTOS, DRAWN))
    again = json.loads(faceline("detect", photos, "--cache", tmp_path / "cache", "--json").stdout)
    assert again["cut"] == 0
    assert again["found_by"] == summary["found_by"]


@needs_ray
def test_a_driver_that_is_stopped_or_killed_and_run_again_makes_what_is_left_and_nothing_twice(
    cluster, photos, single, tmp_path
):
    cache = tmp_path / "cache"
    driver = cluster.detect(photos, cache)
    wait_for_units(cache, 1, driver)
    driver.send_signal(signal.SIGINT)
    _, stderr = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 130
    assert "the same command goes on" in stderr
    driver = cluster.detect(photos, cache)
    wait_for_units(cache, units_in(cache) + 1, driver)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    summary = result_of(cluster.detect(photos, cache))
    assert summary["cut"] <= PHOTOS - 256 - PHOTOS % 256, "a whole unit and perhaps the short one were kept"
    assert_whole(cache, single)


@needs_ray
def test_predictions_of_two_actors_are_those_of_one_process_although_one_actor_is_killed(cluster, finished, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for file in sorted((finished.data / "eval" / "images").iterdir())[:30]:
        shutil.copy(file, photos)
    (photos / "text.jpg").write_text("no photo")
    if (finished.cache / "networks").is_dir():  # converted by OpenVINO, if it is installed
        shutil.copytree(finished.cache / "networks", tmp_path / "cache" / "networks")
    out, alone = tmp_path / "out", tmp_path / "alone"
    words = ["predict", photos, "--bundle", finished.run / "bundle", "--cache", tmp_path / "cache", "--part-size", "4"]
    driver = cluster.start(*words, "--out", out)
    begun = time.monotonic()
    while not list(out.glob("parts/*.json")):
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() - begun < PATIENCE_S
        time.sleep(0.01)
    cluster.kill("PartActor")
    result = result_of(driver)
    assert (result["photos"], result["predicted_now"], result["unreadable"]) == (31, 31, 1)
    assert result["actors"] >= 1, "the living one may have done everything before the other was made anew"
    faceline(*words, "--device", "cpu", "--out", alone)
    assert (out / "predictions.csv").read_bytes() == (alone / "predictions.csv").read_bytes()


@needs_ray
def test_a_node_that_dies_in_the_middle_costs_time_and_nothing_else(cluster, photos, single, tmp_path):
    driver = cluster.detect(photos, tmp_path / "cache")
    wait_for_units(tmp_path / "cache", 1, driver)
    cluster.kill()
    summary = result_of(driver)
    assert_whole(tmp_path / "cache", single)
    assert summary["cut"] == PHOTOS
