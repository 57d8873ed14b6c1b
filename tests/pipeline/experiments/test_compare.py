"""`faceline compare` on drawn people: the same folds for all, nothing trained twice, correct scores."""

import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import yaml
from sklearn.metrics import f1_score

from cache.errors import DataError, UsageError
from pipeline.experiments import compare
from tests.pipeline.commands.test_app import start
from tests.pipeline.conftest import faceline, tiny_options

SETTINGS = {"seed": 9, "tasks": {"age": None}}
LEARN = ["--set", "train.epochs=3", "--set", "train.lr=0.01"]  # enough for the two to predict differently


def write_settings(folder: Path, **changed) -> Path:
    """A file called like its first changed key."""
    file = folder / f"{next(iter(changed), 'plain')}.yaml"
    file.write_text(yaml.safe_dump({**SETTINGS, **changed}))
    return file


def compared(data, cache, out, *words):
    return faceline("compare", data, *common_words(cache, out), *words)


def common_words(cache, out):
    return ["--folds", 2, "--out", out, "--cache", cache, "--device", "cpu", *tiny_options(), *LEARN]


def ages(out):
    return {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}


@pytest.fixture(scope="module")
def comparison(drawn, shared_cache, tmp_path_factory) -> SimpleNamespace:
    """Two configurations, two folds, two seeds: the folder, the files and what was printed."""
    folder = tmp_path_factory.mktemp("compare")
    files = [write_settings(folder), write_settings(folder, model={"zoom": 2.0})]
    out = folder / "out"
    printed = compared(drawn, shared_cache, out, *files, "--seeds", 2, "--json")
    return SimpleNamespace(data=drawn, cache=shared_cache, out=out, files=files, printed=printed)


@pytest.fixture
def copied(comparison, tmp_path) -> SimpleNamespace:
    """The comparison in a folder that a test may harm."""
    out = shutil.copytree(comparison.out, tmp_path / "out")
    return SimpleNamespace(**{**vars(comparison), "out": out})


def test_every_run_has_the_same_folds_whatever_its_seed(comparison):
    folds = {path.read_text() for path in comparison.out.rglob("folds.csv")}
    assert len(list(comparison.out.rglob("folds.csv"))) == 8
    assert len(folds) == 1
    seeds = {json.loads(path.read_text())["seeds"]["seed"] for path in comparison.out.rglob("seed-*/fold-*/run.json")}
    assert seeds == {0, 1}


def test_the_figures_are_scikit_learns_over_all_held_out_people(comparison):
    result = json.loads((comparison.out / "compare.json").read_text())
    means = {}
    for name in ("plain", "model"):
        by_seed = []
        for seed in (0, 1):
            parts = [comparison.out / name / f"seed-{seed}" / f"fold-{fold}" / "validation.csv" for fold in (0, 1)]
            table = pl.concat([pl.read_csv(part) for part in parts])
            assert len(table) == 84
            truth = table["true_mask"].to_numpy() * 2 + table["true_gender"].to_numpy()
            by_seed.append(f1_score(truth, table["class"].to_numpy(), average="macro", zero_division=0))
        means[name] = np.mean(by_seed)
        scores = result["configurations"][name]["scores"]
        assert scores["joint"]["by_seed"] == pytest.approx(by_seed)
        assert scores["joint"]["macro_f1"] == pytest.approx(means[name])
        assert set(scores) == {"joint", "mask", "gender"}
        assert result["configurations"][name]["seconds"] > 0
    assert means["plain"] != means["model"]
    difference = result["configurations"]["model"]["scores"]["joint"]["difference"]
    assert difference["macro_f1"] == pytest.approx(means["model"] - means["plain"])
    assert difference["low"] <= difference["macro_f1"] <= difference["high"]
    assert result["configurations"]["plain"]["scores"]["joint"]["difference"] is None


def test_it_ends_with_one_json_object_and_leaves_a_page_with_the_command_and_what_differs(comparison):
    result = json.loads(comparison.printed.stdout)
    assert result == json.loads((comparison.out / "compare.json").read_text())
    assert result["complete"] is True
    assert result["differing"] == {"model.zoom": {"plain": 1.3, "model": 2.0}}
    assert len(result["runs"]) == 8
    page = (comparison.out / "compare.md").read_text()
    assert page.startswith(f"`faceline compare {comparison.data} ")
    assert "| `model.zoom` | `1.3` | `2.0` |" in page
    rows = [line for line in page.splitlines() if line.startswith(("| plain |", "| model |"))]
    assert all(row.count("|") == 9 for row in rows)


def test_the_same_command_again_trains_nothing_and_says_the_same(copied):
    before = ages(copied.out)
    printed = compared(copied.data, copied.cache, copied.out, *copied.files, "--seeds", 2, "--json")
    assert printed.stderr.count("was trained before") == 8
    assert ages(copied.out) == before
    assert json.loads(printed.stdout)["configurations"] == json.loads(copied.printed.stdout)["configurations"]


def test_a_stopped_comparison_goes_on_and_ends_like_an_undisturbed_one(comparison, copied, monkeypatch):
    shutil.rmtree(copied.out)
    trained, calls = compare.train_on, []

    def stop_at_the_sixth(*words):
        calls.append(words)
        finished = trained(*words)
        if len(calls) == 6:
            run = words[1]
            record = json.loads((run / "run.json").read_text())
            (run / "run.json").write_text(json.dumps({**record, "status": "started"}))
            (run / "validation.csv").unlink()
            raise SystemExit(130)
        return finished

    monkeypatch.setattr(compare, "train_on", stop_at_the_sixth)
    words = [copied.data, copied.cache, copied.out, *copied.files, "--seeds", 2, "--json"]
    with pytest.raises(SystemExit):
        compared(*words)
    partial = json.loads((copied.out / "compare.json").read_text())
    assert partial["complete"] is False
    assert (partial["seeds"], partial["held_out"]) == ([0], [0, 1]), "a seed that lacks a fold is left out"
    order = [f"{words[1].parts[-3]} {words[1].parts[-2]} {words[1].name}" for words in calls[:4]]
    assert order == ["plain seed-0 fold-0", "model seed-0 fold-0", "plain seed-0 fold-1", "model seed-0 fold-1"]
    printed = compared(*words)
    assert len(calls) == 6 + 3
    result, first = (
        json.loads(printed.stdout)["configurations"],
        json.loads(comparison.printed.stdout)["configurations"],
    )
    assert {n: result[n]["scores"] for n in result} == {n: first[n]["scores"] for n in first}


def test_a_killed_comparison_goes_on_in_the_middle_of_a_training(comparison, tmp_path):
    out = tmp_path / "out"
    words = [*common_words(comparison.cache, out), *comparison.files, "--first", 1]
    process = start("compare", comparison.data, *words)
    mark = out / "model" / "seed-0" / "fold-0" / "mask" / "last.safetensors"
    while not mark.exists() and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.communicate(timeout=120)
    assert not compare.is_finished(mark.parents[1])
    first = ages(out / "plain")
    compared(comparison.data, comparison.cache, out, *comparison.files, "--first", 1)
    assert ages(out / "plain") == first
    for table in out.rglob("validation.csv"):
        assert table.read_bytes() == (comparison.out / table.relative_to(out)).read_bytes()


def test_one_configuration_alone_and_one_fold_alone_are_scored(copied):
    printed = compared(copied.data, copied.cache, copied.out, copied.files[0], "--held-out", "1", "--json")
    result = json.loads(printed.stdout)
    assert result["held_out"] == [1]
    assert result["configurations"]["plain"]["scores"]["joint"]["difference"] is None
    assert "1 of 2 folds" in (copied.out / "compare.md").read_text()


def test_runs_by_different_code_are_warned_of(copied):
    path = copied.out / "plain" / "seed-0" / "fold-0" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "git": {"commit": "abc", "dirty": False}}))
    printed = compared(copied.data, copied.cache, copied.out, *copied.files, "--seeds", 2)
    assert "made by different code" in printed.stderr
    assert "plain" in printed.stdout


def test_other_photos_other_folds_and_other_settings_are_refused_in_the_same_folder(copied, some_data, tmp_path):
    with pytest.raises(UsageError, match="holds a comparison on other photos"):
        folder = next((some_data / "train" / "images").iterdir())
        shutil.copytree(folder, folder.with_name("999999_female_Asian_44"))
        compared(some_data, copied.cache, copied.out, *copied.files)
    with pytest.raises(UsageError, match=r"split\.seed: 0 there, 1 now"):
        compared(copied.data, copied.cache, copied.out, *copied.files, "--split-seed", 1)
    with pytest.raises(UsageError, match=r"train\.lr"):
        compared(copied.data, copied.cache, copied.out, write_settings(tmp_path, model={"zoom": 3.0}), "--set",
                 "train.lr=0.1")  # fmt: skip


def test_a_run_on_other_folds_is_refused(copied):
    path = copied.out / "model" / "seed-0" / "fold-1" / "folds.csv"
    path.write_text(path.read_text().replace(",0\n", ",1\n", 1))
    with pytest.raises(DataError, match="can't be compared"):
        compared(copied.data, copied.cache, copied.out, *copied.files, "--seeds", 2)


def test_what_cannot_be_compared_is_reported_before_anything_is_trained(drawn, shared_cache, tmp_path):
    plain = write_settings(tmp_path)
    (tmp_path / "other").mkdir()
    namesake = write_settings(tmp_path / "other")
    tasks = write_settings(tmp_path, tasks={"age": None, "gender": None})
    bins = tmp_path / "bins.yaml"
    bins.write_text(yaml.safe_dump({"tasks": {"age": None, "gender": {"classes": ["male", "female", "other"]}}}))
    wrong = write_settings(tmp_path, train={"epoch": 1})
    out = tmp_path / "out"
    for options, message in [
        ([plain, tmp_path / "nowhere.yaml"], "there is no file .*nowhere.yaml"),
        ([plain, namesake], "would share the folder"),
        ([plain, plain], "would share the folder"),
        ([plain, tasks], "plain.yaml has the task gender and .*tasks.yaml does not"),
        ([plain, bins], "define gender differently"),
        ([plain, wrong], "did you mean epochs"),
        ([plain, "--held-out", "0,2"], "name folds from 0 to 1"),
        ([plain, "--first", "3"], "there are only 2 folds"),
        ([plain, "--first", "1", "--held-out", "0"], "use one of them"),
        ([plain, "--set", "seed=3"], "each run gets its seed"),
        ([plain, "--set", "split.folds=3"], r"each run gets its split\.folds"),
        ([plain, "--folds", "50"], "of only .* people"),
    ]:
        words = ["compare", drawn, *options, "--out", out, "--cache", shared_cache]
        words += [] if "--folds" in words else ["--folds", "2"]
        with pytest.raises(UsageError, match=message):
            faceline(*words)
    with pytest.raises(UsageError, match="name that first"):
        faceline("compare", plain, plain, "--out", out)
    assert not out.exists()


def test_a_data_set_with_a_validation_part_is_compared_on_that_fold_only(tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.jpg").touch()
    rows = [f"{number}.jpg,p{number},male,wear,{'val' if number > 1 else 'train'}" for number in range(4)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,person,gender,mask,split", *rows]))
    out = tmp_path / "out"
    with pytest.raises(UsageError, match=r"says itself which photos are held out.*--held-out 0"):
        faceline("compare", tmp_path / "labels.csv", write_settings(tmp_path), "--folds", 2, "--out", out)
    assert not out.exists()


def test_a_failing_configuration_is_named(drawn, shared_cache, tmp_path):
    # Photos are needed to see that their names are no numbers; what can be seen before is refused before any run.
    rule = {"augment": {"groups": [{"where": "CAST(stem AS INT) > 1"}]}}
    plain, failing = write_settings(tmp_path), write_settings(tmp_path, tasks={"age": None, "gender": rule})
    with pytest.raises(UsageError, match=r"^tasks, seed 0, fold 0: tasks\.gender\.augment\.groups"):
        compared(drawn, shared_cache, tmp_path / "out", plain, failing)
    assert compare.is_finished(tmp_path / "out" / "plain" / "seed-0" / "fold-0")
