from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from cache.sources import hash_files
from cache.store import CropStore
from detect.config import CropConfig, DetectConfig
from detect.crops import _decoded, count_outcomes, fill_cache
from detect.ladder import SubjectFinder
from detect.spec import crop_spec


def filled(paths, root):
    detect, crop = DetectConfig(), CropConfig()
    store = CropStore(root, crop_spec(detect, crop))
    wanted = {source: path for path, source in hash_files(paths).items()}
    told = []
    finder = SubjectFinder(detect, crop, "cpu")
    fill_cache(wanted, store, finder, crop, threads=2, progress=told.append)
    return store, wanted, sum(told)


def test_photos_of_all_sizes_and_broken_ones_go_through_one_run(photos, tmp_path):
    paths = []
    for number, size in enumerate([(384, 512), (300, 400), (768, 1024), (500, 333)]):
        paths.append(tmp_path / f"{number}.jpg")
        Pillow.fromarray(photos[number]).resize(size).save(paths[-1])
    for name, content in [("empty.jpg", b""), ("text.png", b"hello")]:
        paths.append(tmp_path / name)
        paths[-1].write_bytes(content)
    store, wanted, done = filled(paths, tmp_path / "cache")
    assert done == 6
    assert count_outcomes(list(store.entries().values())).get("unreadable") == 2
    outcomes = {path.name: store.entry(source).outcome for source, path in wanted.items()}
    assert outcomes == {"0.jpg": "ok", "1.jpg": "ok", "2.jpg": "ok", "3.jpg": "ok",
                        "empty.jpg": "empty_file", "text.png": "not_an_image"}  # fmt: skip
    entry = store.entry(next(source for source, path in wanted.items() if path.name == "2.jpg"))
    assert entry.facts["photo"] == [768, 1024]


def test_the_crop_is_cut_at_the_photos_own_scale(photos, tmp_path):
    large = tmp_path / "large.png"
    Pillow.fromarray(photos[6]).resize((768, 1024)).save(large)
    store, wanted, _ = filled([large], tmp_path / "cache")
    [source] = wanted
    x1, y1, x2, y2 = store.entry(source).facts["window"]
    crop = np.asarray(Pillow.open(__import__("io").BytesIO(store.read(source))))
    assert crop.shape[0] == min(y2 - y1, 448)
    assert x2 - x1 > 336, "the window is measured in the photo's pixels, before the crop is shrunk"


def test_what_is_there_is_not_made_again(photos, tmp_path):
    path = tmp_path / "one.png"
    Pillow.fromarray(photos[0]).save(path)
    assert filled([path], tmp_path / "cache")[2] == 1
    assert filled([path], tmp_path / "cache")[2] == 0


class Failing(SubjectFinder):
    """Fails on dark photos."""

    def find(self, images):
        if any(image.mean() < 5 for image in images):
            raise ValueError("too dark")
        return super().find(images)


def test_a_photo_that_the_detector_fails_on_takes_no_other_along(photos, tmp_path):
    detect, crop = DetectConfig(), CropConfig()
    store = CropStore(tmp_path / "cache", crop_spec(detect, crop))
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, image in zip(paths, [photos[0], np.zeros_like(photos[0]), photos[1]], strict=True):
        Pillow.fromarray(image).save(path)
    wanted = {source: path for path, source in hash_files(paths).items()}
    waiting = fill_cache(wanted, store, Failing(detect, crop, "cpu"), crop, threads=2, progress=lambda _: None)
    outcomes = {path.name: store.entry(source) for source, path in wanted.items()}
    assert [outcomes[f"{number}.png"].outcome for number in range(3)] == ["ok", "unreadable", "ok"]
    assert "too dark" in outcomes["1.png"].facts["sentence"]
    assert set(waiting) == {"decode", "detect", "write"}
    assert sum(waiting.values()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("side", "fewest", "most"), [(8, 100, 128), (1024, 15, 21), (6000, 1, 8)])
def test_slices_are_the_smaller_the_larger_the_photos_and_end_with_their_unit(monkeypatch, side, fewest, most):
    image = np.broadcast_to(np.zeros(3, np.uint8), (side, side, 3))  # as large as told, without the memory
    monkeypatch.setattr("detect.crops.decode_file", lambda path: image)
    missing = [str(number) for number in range(300)]
    with ThreadPoolExecutor(2) as pool:
        slices = [sources for sources, _ in _decoded(missing, dict.fromkeys(missing, Path("photo")), pool)]
    assert [source for sources in slices for source in sources] == missing
    assert max(map(len, slices)) <= most
    assert max(map(len, slices)) >= fewest
    ends = np.cumsum([len(sources) for sources in slices])
    assert 256 in ends, "a slice reaches from one unit into the next"


def test_a_photo_that_decodes_to_no_image_is_no_reason_to_take_small_slices(tmp_path):
    missing = [str(number) for number in range(200)]
    with ThreadPoolExecutor(2) as pool:
        slices = [s for s, _ in _decoded(missing, dict.fromkeys(missing, tmp_path / "none.jpg"), pool)]
    assert sum(map(len, slices)) == 200
