import shutil

import numpy as np
import polars as pl

from classify.tasks import Task
from pipeline.intake.photo import Photo
from pipeline.reports import explanations
from pipeline.reports.explanations import explain
from pipeline.reports.mistakes import Mistake
from pipeline.reports.pictures import Pictures
from pipeline.settings import load_settings


def crop_of(source):
    """A picture of noise, the same for the same source."""
    return np.random.default_rng(int(source[:8], 16)).integers(0, 256, (64, 48, 3), np.uint8)


def explained(run, rows, **more):
    """Explain the answers of some held-out photos, as if they were mistakes."""
    table = pl.read_csv(run / "validation.csv")
    task = load_settings(run / "config.yaml").task_list()[0]
    shares = [(name, 0.5) for name in task.classes]
    facts = table.select("path", "person", "source", "fold").rows()
    mistakes = [Mistake(row, *facts[row], *task.classes[:2], shares, "") for row in rows]
    names = pl.read_csv(run / "folds.csv")["path"]
    photos = [Photo(run / name, name, name, {task.name: task.classes[0]}) for name in names]
    return task, explain(run, {task.name: mistakes}, [task], photos, Pictures(crop_of), **more)


def test_a_mistake_has_a_saliency_picture_and_neighbours_that_were_trained_on(finished):
    task, found = explained(finished.run, [0, 5])
    folds = dict(pl.read_csv(finished.run / "folds.csv").select("path", "fold").rows())
    held_out = pl.read_csv(finished.run / "validation.csv")["fold"].unique().to_list()
    assert found.by_mistake.keys() == {(task.name, 0), (task.name, 5)}
    for explanation in found.by_mistake.values():
        assert explanation.saliency.startswith("data:image/jpeg")
        assert len(explanation.neighbours) == 3
        assert not {folds[n.path] for n in explanation.neighbours} & set(held_out)
        similarity = [n.similarity for n in explanation.neighbours]
        assert similarity == sorted(similarity, reverse=True)
        assert {n.label for n in explanation.neighbours} == {task.classes[0]}


def test_what_no_network_held_out_is_not_explained_by_one_that_was_trained_on_it(finished, tmp_path):
    run = shutil.copytree(finished.run, tmp_path / "run")
    table = pl.read_csv(run / "validation.csv").with_columns(fold=pl.lit(77))
    table.write_csv(run / "validation.csv")
    _, found = explained(run, [0])
    assert found.by_mistake == {}


def test_photos_that_are_not_reached_in_time_are_counted(finished, monkeypatch):
    monkeypatch.setattr(explanations, "AT_ONCE", 4)
    _, found = explained(finished.run, [0], seconds=0.0)
    assert any("nearest of 4 of its" in note for note in found.notes)


def test_without_a_bundle_a_sentence_says_so(tmp_path):
    task = Task("mask", ("a", "b"))
    mistake = Mistake(0, "x.jpg", "x", "00", 0, "a", "b", [], "")
    found = explain(tmp_path, {"mask": [mistake]}, [task], [], Pictures(crop_of))
    assert found.by_mistake == {}
    assert "mistakes are not explained" in found.notes[0]
