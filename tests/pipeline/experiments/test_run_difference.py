import json

import polars as pl
import pytest

from pipeline.experiments.run_difference import compare_runs
from tests.pipeline.runs import write_run

TRUTH = [0, 1, 2, 0, 1, 2, 0, 1]


@pytest.fixture
def first(tmp_path):
    return write_run(tmp_path / "first", answers=[0, 1, 2, 0, 1, 0, 1, 2], truth=TRUTH, device="cpu")


@pytest.fixture
def second(tmp_path):
    settings = ["train.epochs=9", "tasks.mask.train.lr=0.001"]
    return write_run(tmp_path / "second", answers=TRUTH, truth=TRUTH, settings=settings, device="cuda")


def test_the_settings_and_circumstances_that_differ_are_named(first, second):
    difference = compare_runs(first, second)
    assert difference.settings == {"train.epochs": ["4", "9"], "tasks.mask.train.lr": ["0.0005", "0.001"]}
    assert difference.circumstances == {"device": ["cpu", "cuda"]}
    assert difference.notes == ()


def test_scores_are_paired_over_the_people_that_both_held_out(first, second):
    table = pl.read_csv(second / "validation.csv")
    table[2:].reverse().write_csv(second / "validation.csv")
    difference = compare_runs(first, second)
    assert (difference.photos, difference.people) == (6, 6)
    before, after = difference.paired["mask"]
    assert before.accuracy == pytest.approx(3 / 6), "without the first two photos, which it has right"
    assert after.accuracy == 1
    assert after.difference.macro_f1 == pytest.approx(1 - before.macro_f1)
    assert after.difference.low > 0
    titles = [title for title, *_ in difference.tables()]
    assert titles[-1] == "Macro-F1 on the 6 photos of 6 people that both held out"
    json.dumps(difference.as_json(), allow_nan=False)


def test_photos_with_another_label_in_the_second_run_are_left_out_and_counted(first, second):
    table = pl.read_csv(second / "validation.csv")
    table.with_columns(true_mask=pl.Series([1, *TRUTH[1:]])).write_csv(second / "validation.csv")
    difference = compare_runs(first, second)
    assert "mask: left out, 1 photo with another label in the second run" in difference.notes
    assert difference.paired["mask"][1].accuracy == 1


def test_the_same_path_with_other_bytes_is_another_photo(first, second):
    table = pl.read_csv(second / "validation.csv")
    table.with_columns(source=pl.lit("other")).write_csv(second / "validation.csv")
    difference = compare_runs(first, second)
    assert difference.paired == {}
    assert "no photo in common" in difference.notes[0]


def test_a_task_with_other_classes_is_not_paired(first, second):
    bundle = json.loads((second / "bundle" / "bundle.json").read_text())
    bundle["tasks"]["mask"]["classes"] = ["wear", "incorrect", "none"]
    (second / "bundle" / "bundle.json").write_text(json.dumps(bundle))
    table = pl.read_csv(second / "validation.csv")
    table.rename({"p_mask_normal": "p_mask_none"}).write_csv(second / "validation.csv")
    difference = compare_runs(first, second)
    assert difference.paired == {}
    assert any("do not have the same classes" in note for note in difference.notes)


def test_an_unfinished_or_damaged_run_is_compared_by_what_is_there(first, second):
    (first / "bundle" / "bundle.json").unlink()
    (first / "run.json").write_text('{"status": "started", "device": "cpu"}')
    difference = compare_runs(first, second)
    assert difference.settings["train.epochs"] == ["4", "9"]
    assert "is an unfinished run" in difference.notes[0]
    assert "no paired differences" in difference.notes[1]
    (second / "validation.csv").write_text("path,source\n1,2\n")
    (second / "config.yaml").write_text("tasks: 3")
    notes = " ".join(compare_runs(second, second).notes)
    assert "validation.csv is damaged" in notes
    assert "settings are not compared" in notes
