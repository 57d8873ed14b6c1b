import numpy as np
import polars as pl
import pytest

from classify.config import ModelConfig, TaskConfig
from classify.inference.bundle import Bundle, save_bundle, trained_network
from classify.models.backbones import build_network
from classify.models.network_plan import Plan
from classify.tasks import Task
from pipeline.intake.photo import Photo
from pipeline.reports import explanations
from pipeline.reports.explanations import explain
from pipeline.reports.mistakes import Mistake
from pipeline.reports.pictures import Pictures

MASK = Task("mask", ("wear", "normal"))
PHOTOS = [Photo(None, f"{row}.jpg", f"p{row}", {"mask": "wear"}) for row in range(12)]


def crop_of(source):
    """A picture of noise, the same for the same source."""
    return np.random.default_rng(int(source)).integers(0, 256, (64, 48, 3), np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two small networks, one for each of the folds 0 and 1; photo r is in fold r % 3."""
    folder = tmp_path_factory.mktemp("run")
    model = ModelConfig(backbone="test_resnet", pretrained=False, input=(64, 48))
    plan = Plan("mask", (MASK,), (TaskConfig(classes=MASK.classes, model=model),))
    networks = tuple(
        trained_network(plan, f"mask-fold{fold}", build_network(model, 2, pretrained=False).eval(), (fold,))
        for fold in range(2)
    )
    save_bundle(folder / "bundle", Bundle((MASK,), networks, {}, {}, 0, flip=False))
    names = [photo.name for photo in PHOTOS]
    pl.DataFrame({"path": names, "source": range(12)}).write_csv(folder / "photos.csv")
    folds = [row % 3 for row in range(12)]
    pl.DataFrame({"path": names, "person": names, "fold": folds}).write_csv(folder / "folds.csv")
    return folder


def explained(run, rows, **more):
    """Explain the predictions of some photos, as if they were mistakes."""
    shares = [("wear", 0.1), ("normal", 0.9)]
    mistakes = [
        Mistake(row, PHOTOS[row].name, PHOTOS[row].person, str(row), row % 3, *MASK.classes, shares, "") for row in rows
    ]
    return explain(run, {"mask": mistakes}, [MASK], PHOTOS, Pictures(crop_of), **more)


def test_a_mistake_has_a_saliency_picture_and_neighbours_of_the_photos_that_were_trained_on(run):
    found = explained(run, [0, 1, 3]).by_mistake
    assert found.keys() == {("mask", 0), ("mask", 1), ("mask", 3)}
    for (_, row), explanation in found.items():
        assert explanation.saliency.startswith("data:image/jpeg")
        neighbours = [int(neighbour.path.removesuffix(".jpg")) for neighbour in explanation.neighbours]
        assert len(set(neighbours)) == 3
        assert row % 3 not in {neighbour % 3 for neighbour in neighbours}, "its fold was held out"
        similarity = [neighbour.similarity for neighbour in explanation.neighbours]
        assert similarity == sorted(similarity, reverse=True)
        assert {neighbour.label for neighbour in explanation.neighbours} == {"wear"}


def test_what_no_network_held_out_is_not_explained_by_one_that_was_trained_on_it(run):
    found = explained(run, [2])
    assert found.by_mistake == {}
    assert found.notes == ["mistakes are not explained: no network in the bundle has held these photos out"]


def test_photos_that_are_not_reached_in_time_are_counted(run, monkeypatch):
    monkeypatch.setattr(explanations, "AT_ONCE", 4)
    assert explained(run, [0], seconds=0.0).notes == [
        "mask-fold0: nearest of 4 of its 8 training photos, drawn at random"
    ]


def test_of_many_networks_those_with_the_most_mistakes_explain_theirs(run, monkeypatch):
    monkeypatch.setattr(explanations, "MAX_NETWORKS", 1)
    found = explained(run, [0, 1, 4])
    assert found.by_mistake.keys() == {("mask", 1), ("mask", 4)}
    assert found.notes == ["explained are the mistakes of 1 of 2 networks"]


def test_without_a_bundle_a_sentence_says_so(tmp_path):
    found = explained(tmp_path, [0])
    assert found.by_mistake == {}
    assert "mistakes are not explained" in found.notes[0]
