"""The drawn people are good enough to stand in for photographed ones."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from facenet_pytorch import MTCNN

from cache.errors import UsageError
from pipeline.commands.demo import DEMO_SETTINGS
from pipeline.demo.dataset import STEMS, draw_data_set
from pipeline.demo.face import draw_photo
from pipeline.demo.person import draw_person
from pipeline.settings import load_settings
from tests.pipeline.conftest import faceline


def test_mtcnn_finds_at_least_98_percent_even_with_a_mask_on():
    rng = np.random.default_rng(11)
    ages = [19, 25, 33, 47, 58, 60]
    people = [draw_person(rng, age, gender) for age in ages for gender in ("male", "female")]
    photos = [draw_photo(person, stem, rng) for person in people for stem in STEMS]
    boxes, _ = MTCNN(keep_all=True, min_face_size=40).detect(np.stack(photos))
    assert np.mean([box is not None for box in boxes]) >= 0.98


def test_the_layout_is_the_competitions_with_the_true_labels_apart(drawn):
    table = pl.read_csv(drawn / "train" / "train.csv", infer_schema=False)
    assert table.columns == ["id", "gender", "race", "age", "path"]
    folders = sorted(p.name for p in (drawn / "train" / "images").iterdir())
    assert sorted(table["path"]) == folders
    for folder in folders:
        stems = {p.stem for p in (drawn / "train" / "images" / folder).iterdir() if not p.name.startswith("._")}
        assert stems == set(STEMS)
    info = pl.read_csv(drawn / "eval" / "info.csv")
    assert info.columns == ["ImageID", "ans"]
    assert set(info["ans"]) == {0}
    assert sorted(info["ImageID"]) == sorted(p.name for p in (drawn / "eval" / "images").iterdir())
    truth = pl.read_csv(drawn / "truth" / "eval.csv")
    assert truth["ImageID"].to_list() == info["ImageID"].to_list()
    age_class = pl.when(pl.col("age") < 30).then(0).when(pl.col("age") < 60).then(1).otherwise(2)
    joint = truth.select(pl.col("mask") * 6 + pl.col("gender") * 3 + age_class)
    assert joint.to_series().to_list() == truth["ans"].to_list()


def test_all_age_classes_and_genders_occur(drawn):
    table = pl.read_csv(drawn / "truth" / "train.csv")
    old = table.filter(pl.col("age") == 60)
    assert set(old["gender"]) == {0, 1}
    assert set(pl.read_csv(drawn / "truth" / "eval.csv")["mask"]) == {0, 1, 2}


def test_the_same_seed_draws_the_same_bytes_and_another_seed_other_people(tmp_path):
    def content(name, seed):
        folder = draw_data_set(tmp_path / name, people=4, seed=seed)
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    first, again, other = content("a", 3), content("b", 3), content("c", 4)
    assert first == again
    assert first.keys() != other.keys()


def test_age_shows(photos):
    # Edges on the forehead: an old face has lines where a young one has none.
    rng = np.random.default_rng(2)
    edges = []
    for age in (18, 60):
        faces = [draw_photo(draw_person(rng, age, "male"), "normal", rng) for _ in range(8)]
        edges.append(np.mean([np.abs(np.diff(face[175:215, 160:220].astype(int), axis=0)).mean() for face in faces]))
    assert edges[1] > 1.15 * edges[0]


def test_too_few_people_are_refused(tmp_path):
    with pytest.raises(UsageError, match="at least 4"):
        draw_data_set(tmp_path / "x", people=3)


def test_the_demo_draws_runs_and_scores_and_resumes_when_called_again(tmp_path):
    tiny = ["model.backbone=test_resnet", "model.pretrained=false", "model.input=[32,24]", "train.epochs=1"]
    tiny += ["ensemble.face=null", "ensemble.lite=null"]
    words = ["demo", tmp_path / "demo", "--people", 8, "--seed", 2, "--device", "cpu", "--json"]
    words += [word for setting in tiny for word in ("--set", setting)]
    summary = json.loads(faceline(*words).stdout.splitlines()[-1])
    assert set(summary["scores"]) == {"joint", "mask", "gender", "age"}
    assert (tmp_path / "demo" / "run" / "crops.png").is_file()
    before = (tmp_path / "demo" / "run" / "predictions.csv").read_bytes()
    faceline(*words)
    assert (tmp_path / "demo" / "run" / "predictions.csv").read_bytes() == before
    with pytest.raises(UsageError, match="holds something else"):
        faceline("demo", tmp_path / "demo", "--people", 9)


def test_the_demo_has_the_settings_of_the_preset_for_a_first_look():
    assert load_settings(None, DEMO_SETTINGS) == load_settings(Path(__file__).parents[3] / "examples" / "minute.yaml")
