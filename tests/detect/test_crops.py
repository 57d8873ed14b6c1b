from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image as Pillow

from cache.sources import hash_files
from cache.store import CropStore, FactStore
from cache.verify import verify
from detect.config import CropConfig, DetectConfig
from detect.crops import _decoded, fill_cache
from detect.decode import Failure
from detect.fingerprints import crop_spec, detector_spec
from detect.subject_finder import SubjectFinder


def fill(paths, root, load_finder=lambda: SubjectFinder(DetectConfig(), "cpu"), *, crop=None, retry=False):
    """Returns the crops, the source ids of the files and the results of `fill_cache`."""
    detect, crop = DetectConfig(), crop or CropConfig()
    facts, crops = FactStore(root, detector_spec(detect)), CropStore(root, crop_spec(detect, crop))
    paths_of = {source: path for path, source in hash_files(paths).items()}
    counts = []
    waiting = fill_cache(paths_of, facts, crops, load_finder, crop, threads=2, progress=counts.append, retry=retry)
    return crops, paths_of, sum(counts), waiting


def filled(paths, root):
    return fill(paths, root)[:3]


def never():
    pytest.fail("the detector was run")


def test_photos_of_all_sizes_and_broken_ones_go_through_one_run(photos, tmp_path):
    paths = []
    for number, size in enumerate([(384, 512), (300, 400), (768, 1024), (500, 333)]):
        paths.append(tmp_path / f"{number}.jpg")
        Pillow.fromarray(photos[number]).resize(size).save(paths[-1])
    for name, content in [("empty.jpg", b""), ("text.png", b"hello")]:
        paths.append(tmp_path / name)
        paths[-1].write_bytes(content)
    store, paths_of, done = filled(paths, tmp_path / "cache")
    assert done == 6
    assert sum(entry.outcome != "ok" for entry in store.entries().values()) == 2
    outcomes = {path.name: store.entry(source).outcome for source, path in paths_of.items()}
    assert outcomes == {"0.jpg": "ok", "1.jpg": "ok", "2.jpg": "ok", "3.jpg": "ok",
                        "empty.jpg": "empty_file", "text.png": "not_an_image"}  # fmt: skip
    entry = store.entry(next(source for source, path in paths_of.items() if path.name == "2.jpg"))
    assert entry.facts["photo"] == [768, 1024]


def test_the_crop_is_cut_at_the_photos_own_scale(photos, tmp_path):
    large = tmp_path / "large.png"
    Pillow.fromarray(photos[6]).resize((768, 1024)).save(large)
    store, paths_of, _ = filled([large], tmp_path / "cache")
    [source] = paths_of
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


@pytest.fixture
def light_dark_light(photos, tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, image in zip(paths, [photos[0], np.zeros_like(photos[0]), photos[1]], strict=True):
        Pillow.fromarray(image).save(path)
    return paths


def failing():
    return Failing(DetectConfig(), "cpu")


def test_a_photo_that_the_detector_fails_on_takes_no_other_along(light_dark_light, tmp_path):
    store, paths_of, _, waiting = fill(light_dark_light, tmp_path / "cache", failing)
    outcomes = {path.name: store.entry(source) for source, path in paths_of.items()}
    assert [outcomes[f"{number}.png"].outcome for number in range(3)] == ["ok", "unreadable", "ok"]
    assert "too dark" in outcomes["1.png"].facts["sentence"]
    assert set(waiting) == {"decode", "detect", "write"}
    assert sum(waiting.values()) == pytest.approx(1, abs=0.01)


def test_a_failure_is_kept_until_it_is_to_be_tried_again(light_dark_light, tmp_path):
    root = tmp_path / "cache"
    fill(light_dark_light, root, failing)
    assert fill(light_dark_light, root, never)[2] == 0
    assert fill(light_dark_light, root, failing, retry=True)[2] == 1
    store, paths_of, done, _ = fill(light_dark_light, root, retry=True)
    assert done == 1
    assert {store.entry(source).outcome for source in paths_of} == {"ok"}
    assert fill(light_dark_light, root, never, retry=True)[2] == 0
    assert verify(root).damaged == ()


def test_a_photo_that_failed_alone_is_tried_again(light_dark_light, tmp_path):
    dark, root = light_dark_light[1:2], tmp_path / "cache"
    for _ in range(2):  # the second try is of exactly the same photos
        store, [source], _, _ = fill(dark, root, failing, retry=True)
        assert store.entry(source).outcome == "unreadable"
    store, [source], _, _ = fill(dark, root, retry=True)
    assert store.entry(source).outcome == "ok"
    assert CropStore(root, store._spec).entry(source).outcome == "ok"
    assert verify(root).damaged == ()


def test_what_another_run_has_committed_meanwhile_is_not_detected(light_dark_light, tmp_path):
    root, detect, crop = tmp_path / "cache", DetectConfig(), CropConfig()
    facts, crops = FactStore(root, detector_spec(detect)), CropStore(root, crop_spec(detect, crop))
    paths_of = {source: path for path, source in hash_files(light_dark_light).items()}
    assert crops.missing(paths_of) == facts.missing(paths_of) == sorted(paths_of)
    fill(light_dark_light, root)
    counts = []
    fill_cache(paths_of, facts, crops, never, crop, threads=1, progress=counts.append)
    assert sum(counts) == len(paths_of)
    assert crops.missing(paths_of) == []


def test_another_crop_is_cut_without_another_detection(photos, tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, image in zip(paths[:2], photos, strict=False):
        Pillow.fromarray(image).save(path)
    paths[2].write_text("no photo")
    other, root = CropConfig(margin=0.2, max_height=200), tmp_path / "cache"
    fill(paths, root)
    again, paths_of, done, _ = fill(paths, root, never, crop=other)
    assert done == 3
    at_once, _, _, _ = fill(paths, tmp_path / "other", crop=other)
    assert [again.entry(s).outcome for s in paths_of] == ["ok", "ok", "not_an_image"]
    for source in list(paths_of)[:2]:
        assert again.read(source) == at_once.read(source)
        assert again.entry(source) == at_once.entry(source)


@pytest.mark.parametrize(("side", "fewest", "most"), [(8, 100, 128), (1024, 15, 21), (6000, 1, 8)])
def test_slices_are_the_smaller_the_larger_the_photos_and_end_with_their_unit(side, fewest, most):
    image = np.broadcast_to(np.zeros(3, np.uint8), (side, side, 3))  # as large as requested, without the memory
    missing = [str(number) for number in range(300)]
    with ThreadPoolExecutor(2) as pool:
        slices = [sources for _, sources, _ in _decoded([missing[:256], missing[256:]], lambda _: image, pool)]
    assert [source for sources in slices for source in sources] == missing
    assert max(map(len, slices)) <= most
    assert max(map(len, slices)) >= fewest
    ends = np.cumsum([len(sources) for sources in slices])
    assert 256 in ends, "a slice reaches from one unit into the next"


def test_a_photo_that_decodes_to_no_image_is_no_reason_to_take_small_slices(tmp_path):
    missing = [str(number) for number in range(200)]
    failure = Failure(tmp_path / "none.jpg", "missing", "it is not there")
    with ThreadPoolExecutor(2) as pool:
        slices = [sources for _, sources, _ in _decoded([missing], lambda _: failure, pool)]
    assert sum(map(len, slices)) == 200
    assert max(map(len, slices)) == 128
