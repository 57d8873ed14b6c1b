import json

import pytest

from cache.errors import BundleError, UsageError
from tests.pipeline.conftest import faceline
from tests.pipeline.runs import write_run


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs" / "a", answers=[0, 1, 2, 0])
    write_run(tmp_path / "runs" / "b", answers=[0, 1, 1, 0], truth=[0, 1, 2, 0], start="2026-01-02")
    return tmp_path / "runs"


@pytest.mark.parametrize("words", [["runs"], ["runs", "runs"], ["runs", "list", "runs"], ["runs", "--sort", "start"]])
def test_runs_lists_the_folder_runs_or_another(runs, words):
    printed = faceline(*words)
    assert "2 runs in runs." in printed.stdout
    assert "Next: faceline runs diff runs/a runs/b" in printed.stdout
    listed = json.loads(faceline(*words, "--json").stdout.splitlines()[-1])
    assert [run["run"] for run in listed["runs"]] == ["a", "b"]


def test_a_condition_says_how_many_runs_it_hides_and_a_damaged_run_is_a_warning(runs):
    (runs / "b" / "data.json").write_text("{")
    printed = faceline("runs", runs, "--where", "status = 'damaged'")
    assert "1 of 2 runs in" in printed.stdout
    assert "data.json can't be read" in printed.stderr


def test_diff_shows_both_scores_and_the_paired_difference(runs):
    printed = faceline("runs", "diff", runs / "a", runs / "b")
    assert "4 photos of 4 people that both held out" in printed.stdout
    difference = json.loads(faceline("runs", "diff", runs / "a", runs / "b", "--json").stdout.splitlines()[-1])
    assert difference["paired"]["mask"][1]["difference"]["macro_f1"] < 0


def test_a_folder_that_is_not_there_or_holds_no_run_is_refused(runs, tmp_path):
    with pytest.raises(UsageError, match="no folder nowhere"):
        faceline("runs", "nowhere")
    with pytest.raises(BundleError, match="no unfinished one"):
        faceline("runs", "diff", runs / "a", tmp_path)


def test_an_unfinished_run_is_refused_with_what_is_there(tmp_path):
    run = write_run(tmp_path / "killed", status="stopped")
    with pytest.raises(BundleError, match=r"no finished run: .* was stopped after epoch 1 of mask; there are config"):
        faceline("vote", run, run, "--out", tmp_path / "votes")
