import json
import shutil

from tests.pipeline.conftest import faceline


def last(result):
    return json.loads(result.stdout.splitlines()[-1])


def test_stats_and_verify_count_what_a_run_left(finished):
    held = last(faceline("cache", "stats", "--cache", finished.cache, "--json"))
    assert sum(kind["ok"] for kind in held["fingerprints"]) >= 126
    told = last(faceline("cache", "verify", "--cache", finished.cache, "--json"))
    assert told["damaged"] == []
    assert "as they were written" in faceline("cache", "verify", "--cache", finished.cache).stdout
    assert "crops" in faceline("cache", "stats", "--cache", finished.cache).stdout


def test_a_damaged_crop_is_found_set_aside_and_made_again(finished, tmp_path):
    cache = shutil.copytree(finished.cache, tmp_path / "cache")
    crop = next(cache.rglob("*.jpg"))
    content = bytearray(crop.read_bytes())
    content[len(content) // 2] ^= 1
    crop.write_bytes(content)
    found = faceline("cache", "verify", "--cache", cache, ok=False)
    assert found.exit_code == 1
    assert "--repair" in found.stdout
    assert faceline("cache", "verify", "--repair", "--cache", cache, ok=False).exit_code == 1
    again = last(faceline("detect", finished.data, "--cache", cache, "--json"))
    assert again["detected"] > 0
    assert again["unreadable"] == 0
    assert faceline("cache", "verify", "--cache", cache).exit_code == 0


def test_the_doctor_tells_versions_devices_and_speed():
    told = last(faceline("doctor", "--json"))
    assert told["versions"]["torch"]
    assert told["devices"][0] == "cpu"
    assert told["photos_detected"] > 0
    assert told["samples_trained"] > 0
