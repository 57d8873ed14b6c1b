import json
import shutil

import pytest

from pipeline.run_state import find_runs, is_run, read_run
from tests.pipeline.runs import write_run


def test_a_finished_run_has_its_scores_and_the_time_of_all_epochs(tmp_path):
    state = read_run(write_run(tmp_path / "a", answers=[0, 1, 2]))
    assert (state.status, state.problems) == ("finished", ())
    assert state.scores["mask"]["macro_f1"] == 1
    assert state.training_seconds == 2.5


@pytest.mark.parametrize(
    ("status", "words"),
    [("stopped", "was stopped after epoch 1 of mask"), ("started", "is running or was killed after epoch 1 of mask")],
)
def test_an_unfinished_run_says_how_far_it_got_what_is_there_and_what_continues_it(tmp_path, status, words):
    text = read_run(write_run(tmp_path / "a", status=status)).describe()
    assert words in text
    assert "there are config.yaml, data.json, metrics.jsonl" in text
    assert "goes on from there: faceline train 'my data'" in text


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("run.json", "{", "run.json can't be read"),
        ("run.json", None, "run.json is missing"),
        ("data.json", "[]", "data.json holds no JSON object"),
        ("metrics.jsonl", '{"epoch": 1}\n{"epo', "metrics.jsonl can't be read"),
        ("metrics.jsonl", "3\n", "line 1 holds no JSON object"),
        ("bundle/bundle.json", "\udcff", "bundle.json can't be read"),
        ("bundle/bundle.json", None, "says that it is finished, but there is no bundle/bundle.json"),
    ],
)
def test_a_damaged_run_names_what_is_damaged(tmp_path, file, content, problem):
    run = write_run(tmp_path / "a", answers=[0, 1])
    (run / file).unlink()
    if content is not None:
        (run / file).write_bytes(content.encode("utf-8", "surrogateescape"))
    state = read_run(run)
    assert state.status == "damaged"
    assert problem in state.describe()
    assert "there are config.yaml" in state.describe()


def test_figures_of_another_kind_are_no_scores(tmp_path):
    run = write_run(tmp_path / "a", answers=[0])
    (run / "bundle" / "bundle.json").write_text(json.dumps({"metrics": {"mask": {"macro_f1": "x"}, "joint": 3}}))
    assert read_run(run).scores == {"mask": {}}


def test_runs_are_found_at_any_depth_but_not_in_runs_caches_and_hidden_folders(tmp_path):
    first, second = write_run(tmp_path / "b" / "seed-0" / "fold-0"), write_run(tmp_path / "a")
    shutil.copytree(second, second / "copy")
    write_run(tmp_path / ".hidden" / "c")
    write_run(tmp_path / "cache" / "d")
    (tmp_path / "cache" / "CACHE.json").write_text("{}")
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "config.yaml").write_text("")
    (tmp_path / "circle").symlink_to(tmp_path)
    assert list(find_runs(tmp_path)) == [second, first]
    assert list(find_runs(first)) == [first]
    assert not is_run(tmp_path / "settings")
