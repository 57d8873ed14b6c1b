"""The engine: order, bounded memory, faults of single photos, and bundles that need different crops."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cache.errors import UsageError
from classify.inference import runtime
from classify.inference.bundle import Bundle, trained_network
from classify.inference.ensemble import Ensemble, single
from classify.models.backbones import build_network
from classify.models.network_plan import plan_networks
from detect.config import CropConfig, DetectConfig
from detect.subject_finder import SubjectFinder
from pipeline.context import RunContext
from pipeline.intake.photo import Photo
from pipeline.prediction import engine as engine_module
from pipeline.prediction import photo_crops
from pipeline.prediction.crop_settings import crop_settings
from pipeline.prediction.engine import Engine
from pipeline.settings import load_settings
from tests.pipeline.conftest import TINY


def bundle(**crop):
    """A bundle of random networks, one for each task; each call makes the same ones."""
    torch.manual_seed(0)
    settings = load_settings(None, TINY)
    plans = plan_networks(settings.tasks)
    networks = tuple(
        trained_network(plan, plan.name, build_network(plan.model, plan.heads.outputs, pretrained=False).eval())
        for plan in plans
    )
    return Bundle(tuple(settings.task_list()), networks, crop_settings(DetectConfig(), CropConfig(**crop)), {}, 0, True)


def engine_of(ensemble, cache, **more):
    return Engine(ensemble, RunContext(load_settings(), cache, "cpu", workers=2), use_cache=False, **more)


@pytest.fixture(scope="module")
def ensemble():
    return single(bundle())


@pytest.fixture(scope="module")
def engine(ensemble, tmp_path_factory):
    return engine_of(ensemble, tmp_path_factory.mktemp("cache"))


def photo(name, content):
    return Photo(Path(name), name, name, content=content)


def test_predictions_have_the_order_of_the_photos_whatever_their_slices(engine, photos):
    pictures = [np.ascontiguousarray(picture[:: 1 + n % 2]) for n, picture in enumerate(photos)]
    alone = [next(engine.predict([photo("x", picture)])).to_dict() for picture in pictures]
    together = list(engine.predict(photo(f"{n}", picture) for n, picture in enumerate(pictures * 4)))
    assert [prediction.path for prediction in together] == [str(n) for n in range(4 * len(pictures))]
    for n, prediction in enumerate(together):
        expected, found = alone[n % len(pictures)], prediction.to_dict()
        assert found["box"] == expected["box"]
        for task, answer in found["tasks"].items():
            assert answer["probabilities"] == pytest.approx(expected["tasks"][task]["probabilities"], abs=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_predicts_what_a_cpu_does(engine, photos, tmp_path):
    context = RunContext(load_settings(), tmp_path, "cuda", workers=2)
    on_gpu = Engine(single(bundle()), context, use_cache=False)
    pictures = [photo(str(n), picture) for n, picture in enumerate(photos)]
    for expected, found in zip(engine.predict(pictures), on_gpu.predict(pictures), strict=True):
        assert found.box == pytest.approx(expected.box, abs=0.5)
        for name, task in expected.tasks.items():
            assert found.tasks[name].probabilities == pytest.approx(task.probabilities, abs=0.02)


def test_the_photos_in_memory_do_not_grow_with_their_number(engine, photos, monkeypatch):
    monkeypatch.setattr(engine_module, "SLICE_BYTES", 4 * photos[0].nbytes)
    inside = most = 0
    lock = threading.Lock()

    def frames():
        nonlocal inside, most
        for number in range(120):
            with lock:
                inside += 1
                most = max(most, inside)
            yield photo(str(number), photos[number % 2])

    for _ in engine.predict(frames()):
        with lock:
            inside -= 1
    assert most < 40, "slices of 4: two read ahead, two or three in work, one handed out"


def test_a_photo_on_which_the_detector_fails_stops_no_other(engine, photos, monkeypatch):
    find = SubjectFinder.find

    def fails_on_black(self, images, are_parts=None):
        if any(not image.any() for image in images):
            raise RuntimeError("the detector is confused")
        return find(self, images, are_parts)

    monkeypatch.setattr(SubjectFinder, "find", fails_on_black)
    black = np.zeros_like(photos[0])
    found = list(engine.predict([photo("a", photos[0]), photo("black", black), photo("b", photos[1])]))
    assert [prediction.status for prediction in found] == ["ok", "unreadable", "ok"]
    assert "the detector is confused" in found[1].message


def test_a_crop_that_cannot_be_cut_stops_no_other(engine, photos, monkeypatch):
    cut = photo_crops.cut

    def fails_on_small(image, window, crop):
        if image.shape[0] == 256:
            raise MemoryError
        return cut(image, window, crop)

    monkeypatch.setattr(photo_crops, "cut", fails_on_small)
    small = np.ascontiguousarray(photos[0][::2, ::2])
    found = list(engine.predict([photo("small", small), photo("a", photos[0])]))
    assert [(item.status, item.reason) for item in found] == [("unreadable", "no_memory"), ("ok", "")]


def test_a_source_that_fails_ends_the_predictions_with_its_error(engine, photos):
    def broken():
        yield photo("a", photos[0])
        raise UsageError("the camera was unplugged")

    with pytest.raises(UsageError, match="unplugged"):
        list(engine.predict(broken()))
    assert next(engine.predict([photo("a", photos[0])])).status == "ok", "the engine goes on working"


def test_bundles_with_other_crops_are_averaged_and_detect_once(photos, tmp_path, monkeypatch):
    first, second = bundle(), bundle(margin=1.5)
    both = engine_of(Ensemble((first, second)), tmp_path)
    parts = [engine_of(single(part), tmp_path) for part in (first, second)]
    detections = []
    find = SubjectFinder.find
    monkeypatch.setattr(
        SubjectFinder, "find", lambda *arguments: detections.append(len(arguments[1])) or find(*arguments)
    )
    [mean] = both.predict([photo("a", photos[0])])
    assert detections == [1]
    alone = [next(part.predict([photo("a", photos[0])])) for part in parts]
    for task, answer in mean.tasks.items():
        for label, probability in answer.probabilities.items():
            expected = np.mean([prediction[task].probabilities[label] for prediction in alone])
            assert probability == pytest.approx(expected, abs=1e-5)
    assert mean.box == alone[0].box


def test_an_unsure_answer_is_marked(ensemble, photos, tmp_path):
    rules = {task.name: replace(ensemble.decision_rule(task.name), unsure_below=1.0) for task in ensemble.tasks}
    [prediction] = engine_of(replace(ensemble, decision_rules=rules), tmp_path).predict([photo("a", photos[0])])
    assert all(answer.is_unsure for answer in prediction.tasks.values())


def test_networks_are_converted_before_anything_is_detected(ensemble, photos, tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    done, convert, find = [], runtime.converted, SubjectFinder.find
    monkeypatch.setattr(runtime, "converted", lambda *a, **k: (done.append("convert"), convert(*a, **k))[1])
    monkeypatch.setattr(SubjectFinder, "find", lambda *a: (done.append("detect"), find(*a))[1])
    pictures = [photo(f"{n}", picture) for n, picture in enumerate(photos)]
    assert len(list(engine_of(ensemble, tmp_path).predict(pictures))) == len(pictures)
    assert done[:4] == ["convert"] * 3 + ["detect"]
    assert "convert" not in done[3:]
