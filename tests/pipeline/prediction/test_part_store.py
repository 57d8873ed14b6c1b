"""Parts are found again by the runs that may use them, and nothing else in their folder is touched."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from cache.errors import UsageError
from pipeline.console import Console
from pipeline.context import RunContext
from pipeline.detection.shards import Shard
from pipeline.intake.photo import Photo
from pipeline.prediction import part_store, predict_parts
from pipeline.prediction.output_folder import refuse_overwriting
from pipeline.prediction.part_predictor import PartPredictor, PredictedPart
from pipeline.prediction.part_store import PartFacts, PartStore, files_state, plan_parts
from pipeline.prediction.prediction import Prediction
from pipeline.prediction.ray_predictor import PartActor
from pipeline.settings import load_settings


@pytest.fixture
def bundle(tmp_path) -> Path:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").write_text('{"format": 3}')
    return tmp_path / "bundle"


@pytest.fixture
def photos(tmp_path) -> list[Photo]:
    names = [f"{number}.jpg" for number in range(5)]
    for name in names:
        (tmp_path / name).write_text(name)
    return [Photo(tmp_path / name, name, name) for name in names]


@pytest.fixture
def plan(bundle, photos, tmp_path):
    def make(size=None, photos=photos):
        return plan_parts(photos, [bundle], load_settings(), {}, out=tmp_path / "out", size=size)

    return make


def facts(photos, **changes):
    return replace(PartFacts(len(photos), {"ok": len(photos)}, {}, None, False, files_state(photos), True), **changes)


def fill(plan, out, **changes) -> PartStore:
    store = PartStore(out, plan)
    for number in range(plan.count):
        store.write(number, b"rows", facts(plan.part(number), **changes))
    return store


def test_parts_of_another_prediction_do_not_decide_the_size_of_these(plan, photos, tmp_path):
    fill(plan(2, photos[:4]), tmp_path / "out")
    assert plan().size == part_store.PART_PHOTOS, "with --overwrite they are gone when the next shard looks for them"
    fill(plan(3), tmp_path / "out")
    assert plan() == plan(3)


def test_files_of_other_programs_stay_in_the_folder_of_parts(plan, tmp_path):
    store = fill(plan(2), tmp_path / "out")
    foreign, left = "part-00000-5f3c-c000.snappy.parquet", ["part-000009.parquet", ".part-000001.parquet.1a2b3c4d"]
    for name in (foreign, *left):
        (store.folder / name).write_bytes(b"")
    store.delete(leftovers=False)
    assert [path.name for path in store.folder.iterdir()] == [foreign]


def test_a_run_that_was_killed_while_it_wrote_predictions_json_may_go_on(plan, bundle, photos, tmp_path):
    store = fill(plan(2), tmp_path / "out")
    (tmp_path / "out" / "predictions.csv").write_text("path\n0.jpg\n")
    names = [photo.name for photo in photos]
    assert store.is_unfinished()
    refuse_overwriting(tmp_path / "out", names, [bundle], submission=False, is_unfinished=True)
    with pytest.raises(UsageError, match=r"no predictions\.json says"):
        refuse_overwriting(tmp_path / "out", names, [bundle], submission=False)
    (tmp_path / "out" / "predictions.json").write_text("{}")
    assert not store.is_unfinished()


class Predicts(PartPredictor):
    """Stands for one whose networks find no decoder for each third photo."""

    def __init__(self, *_: object, **__: object) -> None:
        self._predictor = self

    def predict_files(self, photos, advance, on_batch):
        on_batch([Prediction(photos[2].name, "unreadable", reason="no_decoder", photo=photos[2])])
        record = SimpleNamespace(counts={"ok": 2, "unreadable": 1}, reasons={"no_decoder": 1}, trained_on=None)
        table = part_store.pl.DataFrame({"fold": [None]})
        return SimpleNamespace(record=record, table=table)


def test_a_photo_without_a_decoder_is_tried_again_once_there_is_another_one(plan, photos, tmp_path, monkeypatch):
    part = Predicts().predict(photos[:3], lambda _: None)
    store = PartStore(tmp_path / "out", plan(3))
    store.write(0, part.content, part.facts)
    assert store.read_facts(0) == part.facts, "or the last of some shards would predict all parts again"
    monkeypatch.setattr(part_store, "decoders", lambda: "another one")
    assert store.read_facts(0) is None


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    class AllOk(PartPredictor):
        def __init__(self, *_: object, **__: object) -> None: ...

        def predict(self, photos, advance):
            return PredictedPart(b"rows", facts(photos))

    def predict(plan, shard=None):
        monkeypatch.setattr(predict_parts, "PartPredictor", AllOk)
        ensemble = SimpleNamespace(bundles=(), tasks=(), origins=(), decide="")
        context = RunContext(load_settings(), tmp_path / "cache", "cpu", 1, Console(quiet=True))
        parts = predict_parts.predict_parts(plan, PartStore(tmp_path / "out", plan), ensemble, context, shard=shard)
        return parts, re.sub(r"\s+", " ", capsys.readouterr().err)

    return predict


def test_a_run_says_that_parts_are_predicted_again(run, plan, photos):
    assert run(plan(2))[1] == ""
    photos[0].path.write_text("another photo")
    parts, printed = run(plan(2))
    assert parts.predicted == 2
    assert "predicted again: 1 of 3 parts" in printed
    assert run(plan(2))[1] == ""


def test_a_shard_says_that_there_are_too_few_parts(run, plan):
    assert "5 photos in parts of 5 are too few for 3 shards" in run(plan(5), Shard(1, 3))[1]
    assert "--part-size 2" in run(plan(5), Shard(2, 3))[1]
    assert run(plan(2), Shard(3, 3))[1] == ""


def test_an_actor_names_the_photos_of_an_unexpected_error(photos, tmp_path):
    actor = PartActor(SimpleNamespace(folder=str(tmp_path)))
    actor._load = lambda: SimpleNamespace(predict=lambda *_: 1 / 0)
    with pytest.raises(RuntimeError, match=r"^0\.jpg to 4\.jpg: ZeroDivisionError: division by zero$"):
        actor.predict_part((0, photos))
