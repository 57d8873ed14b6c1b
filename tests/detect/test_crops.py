from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from cache.errors import DetectionError
from cache.sources import hash_files, part_path
from cache.store import CropStore, FactStore
from cache.unit import Entry
from cache.verify import verify
from detect.config import CropConfig, DetectConfig
from detect.crops import _decoded, fill_cache
from detect.failures import Failure
from detect.fingerprints import crop_spec, detector_spec
from detect.formats import FORMATS
from detect.subject_finder import SubjectFinder


@cache
def finder():
    return SubjectFinder(DetectConfig(), "cpu")


def fill(paths, root, load_finder=finder, *, crop=None, retry=False, max_megapixels=100):
    """Returns the crops, the files by source id, the number of photos done, and the result of `fill_cache`."""
    detect, crop = DetectConfig(), crop or CropConfig()
    facts, crops = FactStore(root, detector_spec(detect)), CropStore(root, crop_spec(detect, crop))
    paths_of = {source: path for path, source in hash_files(paths).items()}
    counts = []
    filled = fill_cache(
        paths_of, facts, crops, load_finder, crop,
        threads=2, progress=counts.append, retry=retry, max_megapixels=max_megapixels,
    )  # fmt: skip
    return crops, paths_of, sum(counts), filled


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

    def find(self, images, are_parts=None):
        if any(image.mean() < 5 for image in images):
            raise ValueError("too dark")
        return super().find(images)


@pytest.fixture
def light_dark_light(photos, tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, image in zip(paths, [photos[0], np.zeros_like(photos[0]), photos[1]], strict=True):
        Pillow.fromarray(image).save(path)
    return paths


@cache
def failing():
    return Failing(DetectConfig(), "cpu")


def test_a_photo_that_the_detector_fails_on_takes_no_other_along_and_is_not_recorded(light_dark_light, tmp_path):
    root = tmp_path / "cache"
    store, paths_of, done, result = fill(light_dark_light, root, failing)
    sources = {path.name: source for source, path in paths_of.items()}
    entries = [store.entry(sources[f"{number}.png"]) for number in range(3)]
    assert [entry and entry.outcome for entry in entries] == ["ok", None, "ok"]
    [(source, entry)] = result.failed.items()
    assert (source, entry.outcome, done) == (sources["1.png"], "detector_error", 3)
    assert "too dark" in entry.facts["sentence"]
    assert set(result.waiting) == {"decode", "detect", "write"}
    assert sum(result.waiting.values()) == pytest.approx(1, abs=0.01)

    store, _, done, result = fill(light_dark_light, root)
    assert (done, result.failed) == (1, {}), "the next run tries it again by itself"
    assert {store.entry(source).outcome for source in paths_of} == {"ok"}
    assert fill(light_dark_light, root, never)[2] == 0
    assert verify(root).damaged == ()


def raised(error):
    """A function that raises the error: always, or as Path.read_bytes for photos only."""
    read = Path.read_bytes

    def fail(*arguments, **_):
        if isinstance(arguments[0], Path) and arguments[0].suffix != ".png":
            return read(arguments[0])
        raise error

    return fail


@pytest.mark.parametrize(
    ("place", "error", "reason"),
    [
        ("detect.decode.Pillow.open", MemoryError(), "no_memory"),
        ("pathlib.Path.read_bytes", OSError(5, "Input/output error"), "missing"),
        ("pathlib.Path.read_bytes", PermissionError(13, "Permission denied"), "missing"),
        ("detect.subject_finder.SubjectFinder.find", RuntimeError("CUDA error: an illegal access"), "detector_error"),
        ("detect.subject_finder.SubjectFinder.find", MemoryError(), "no_memory"),
        ("detect.subject_finder.SubjectFinder.find", RuntimeError("[GPU] CL_OUT_OF_RESOURCES"), "detector_error"),
        ("detect.subject_finder.SubjectFinder.find", RuntimeError("CUDA out of memory. Tried ..."), "no_memory"),
        ("detect.crops.encode", MemoryError(), "no_memory"),
        ("detect.crops.cut", cv2.error("(-4:Insufficient memory) Failed to allocate 9 bytes"), "no_memory"),
    ],
)
def test_no_passing_fault_is_recorded_and_the_next_run_tries_again(place, error, reason, photos, tmp_path, monkeypatch):
    path, root = tmp_path / "photo.png", tmp_path / "cache"
    Pillow.fromarray(photos[0]).save(path)
    with monkeypatch.context() as broken:
        fail = raised(error)
        if "find" in place:  # on the photo, but not on the blank image
            find = SubjectFinder.find
            fail = lambda self, images, *_: find(self, images) if images[0].std() == 0 else raised(error)(0)  # noqa: E731
        broken.setattr(place, fail)
        store, [source], _, result = fill([path], root)
    assert store.entry(source) is None
    assert [entry.outcome for entry in result.failed.values()] == [reason]
    assert CropStore(root, store._spec).missing([source]) == [source]
    store, _, done, result = fill([path], root)
    assert (done, store.entry(source).outcome, result.failed) == (1, "ok", {})


def test_a_file_that_is_replaced_after_it_was_hashed_is_not_stored_under_the_old_id(photos, tmp_path, monkeypatch):
    path, root = tmp_path / "photo.png", tmp_path / "cache"
    Pillow.fromarray(photos[0]).save(path)
    old = hash_files([path])
    Pillow.fromarray(photos[1]).save(path)
    monkeypatch.setattr("tests.detect.test_crops.hash_files", lambda _: old)
    store, [source], _, result = fill([path], root)
    assert store.entry(source) is None
    assert result.failed[source].outcome == "changed"
    assert "run the command again" in result.failed[source].facts["sentence"]


def several(photos, folder, count=4):
    paths = [folder / f"{number}.png" for number in range(count)]
    for path, image in zip(paths, photos, strict=False):
        Pillow.fromarray(image).save(path)
    return paths


@pytest.mark.parametrize(
    ("place", "error", "message"),
    [
        ("detect.subject_finder.SubjectFinder.find", RuntimeError("CUDA error: unknown error\nmore"), "CUDA error"),
        ("detect.subject_finder.SubjectFinder.find", MemoryError(), "does not work"),
        ("detect.decode.Pillow.open", MemoryError(), "not enough memory"),
        ("pathlib.Path.read_bytes", OSError(116, "Stale file handle"), "Stale file handle"),
    ],
)
def test_a_run_in_which_everything_fails_stops_and_records_nothing(
    place, error, message, photos, tmp_path, monkeypatch
):
    paths, root = several(photos, tmp_path), tmp_path / "cache"
    with monkeypatch.context() as broken:
        broken.setattr(place, raised(error))
        with pytest.raises(DetectionError, match=message) as stopped:
            fill(paths, root)
    assert "No photo is recorded" in str(stopped.value)
    assert list(root.glob("*/*/units/*/*")) == []
    store, paths_of, done, _ = fill(paths, root)
    assert (done, {store.entry(source).outcome for source in paths_of}) == (4, {"ok"})


def test_two_photos_on_which_the_detector_always_fails_do_not_block_the_others(photos, tmp_path):
    paths, root = (
        several([np.zeros_like(photos[0]), np.ones_like(photos[0]), *photos[:2]], tmp_path),
        tmp_path / "cache",
    )
    for _ in range(2):  # in the second run, only they are left
        store, paths_of, _, result = fill(paths, root, failing)
        assert len(result.failed) == 2
    assert sum(store.entry(source) is not None for source in paths_of) == 2


FORMERLY = [
    ("unreadable", "the detector failed on it: CUDA error: an illegal memory access was encountered"),
    ("unreadable", "the image is damaged: "),
    ("unreadable", "the image is damaged: out of memory error when reading image file"),
    ("unreadable", "the image is damaged: [Errno 5] Input/output error"),
    ("missing", "cannot be read: No such file or directory"),
    ("not_an_image", "the content is not an image of a known format (JPEG, PNG, WEBP, BMP, TIFF, AVIF)"),
]


def recorded(paths, root, outcome, facts):
    """A cache in which all files have failed."""
    spec, key = detector_spec(DetectConfig()), crop_spec(DetectConfig(), CropConfig())
    entries = [Entry(source, str(path), outcome, facts) for path, source in hash_files(paths).items()]
    FactStore(root, spec).commit(entries)
    CropStore(root, key).commit([(entry, None) for entry in entries])


@pytest.mark.parametrize(("outcome", "sentence"), FORMERLY)
def test_passing_faults_that_earlier_versions_recorded_are_tried_again(outcome, sentence, photos, tmp_path):
    paths, root = several(photos, tmp_path, 2), tmp_path / "cache"
    recorded(paths, root, outcome, {"sentence": sentence})
    store, paths_of, done, _ = fill(paths, root)
    assert (done, {store.entry(source).outcome for source in paths_of}) == (2, {"ok"})
    assert fill(paths, root, never)[2] == 0


@pytest.mark.parametrize(
    ("outcome", "facts"),
    [
        ("truncated", {"sentence": "the image is damaged: image file is truncated (3 bytes not processed)"}),
        ("unreadable", {"sentence": "the image is damaged: broken PNG file"}),
        ("empty_file", {"sentence": "the file is empty (0 bytes)"}),
        ("not_an_image", {"sentence": "the content is not an image", "formats": list(FORMATS)}),
        ("too_large", {"sentence": "larger than 100 megapixels: 12000x9000 pixels"}),
        ("too_large", {"sentence": "larger than 50 megapixels: 12000x9000 pixels", "pixels": 108_000_000}),
    ],
)
def test_what_the_bytes_decide_is_not_tried_again(outcome, facts, photos, tmp_path):
    paths, root = several(photos, tmp_path, 2), tmp_path / "cache"
    recorded(paths, root, outcome, facts)
    assert fill(paths, root, never)[2] == 0
    assert fill(paths, root, retry=True)[2] == 2


def test_what_fails_again_for_another_reason_is_tried_once_and_then_known(tmp_path):
    paths, root = [tmp_path / "text.jpg", tmp_path / "empty.jpg"], tmp_path / "cache"
    paths[0].write_text("no photo")
    paths[1].touch()
    recorded(paths, root, *("not_an_image", {"sentence": FORMERLY[-1][1]}))
    for done in (2, 0):
        store, paths_of, actual, _ = fill(paths, root, never)
        assert actual == done
        outcomes = {path.name: store.entry(source).outcome for source, path in paths_of.items()}
        assert outcomes == {"text.jpg": "not_an_image", "empty.jpg": "empty_file"}
    assert verify(root).damaged == ()


def test_a_photo_that_was_too_large_is_tried_again_under_a_limit_that_admits_it(photos, tmp_path):
    path, root = tmp_path / "photo.png", tmp_path / "cache"
    Pillow.fromarray(photos[0]).save(path)  # 196,608 pixels
    store, [source], _, _ = fill([path], root, never, max_megapixels=0.1)
    assert store.entry(source).outcome == "too_large"
    assert fill([path], root, never, max_megapixels=0.19)[2] == 0
    store, [source], done, _ = fill([path], root, max_megapixels=0.2)
    assert (store.entry(source).outcome, done) == ("ok", 1)
    assert fill([path], root, never, max_megapixels=0.1)[2] == 0, "a crop that is there is used"


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


def test_two_parts_of_one_photo_have_a_crop_each_of_their_own_face(photos, tmp_path):
    both = np.concatenate([photos[0], photos[7]], axis=1)  # 512 x 768, a woman and a man
    Pillow.fromarray(both).save(tmp_path / "both.png")
    parts = [part_path(tmp_path / "both.png", (left, 0, 384, 512)) for left in (0, 384)]
    whole = [tmp_path / "left.png", tmp_path / "right.png"]
    for path, image in zip(whole, (photos[0], photos[7]), strict=True):
        Pillow.fromarray(image).save(path)
    store, _, _ = filled([*parts, *whole], tmp_path / "cache")
    boxes = [store.entry(source).facts["box"] for source in hash_files([*parts, *whole]).values()]
    assert boxes[:2] == boxes[2:]
    assert boxes[0] != boxes[1]
