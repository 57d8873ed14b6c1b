"""`faceline labels ...` on the drawn people and a tiny run."""

import json
import shutil

import polars as pl
import pytest

from cache.errors import BundleError, DataError, UsageError
from pipeline.evaluation.out_of_fold import read_out_of_fold
from pipeline.intake.load import load_data
from pipeline.settings import DataConfig, load_settings
from tests.pipeline.conftest import faceline, tiny_options
from tests.pipeline.intake.test_corrections import hashes

TASKS = load_settings().task_list()


def printed_json(result):
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture
def contradicted(finished, tmp_path):
    """A run whose networks are sure of every held-out label but two people's gender and one pair of masks.

    Returns the run's folder, the two people and the person whose photos are swapped.
    """
    run = tmp_path / "run"
    shutil.copytree(finished.run, run)
    table = pl.read_csv(run / "validation.csv", schema_overrides={"path": pl.String, "person": pl.String})
    people = table["person"].unique(maintain_order=True).to_list()
    rows = []
    for row in table.iter_rows(named=True):
        for task in TASKS:
            code = row[f"true_{task.name}"]
            if task.name == "gender" and row["person"] in people[:2]:
                code = 1 - code
            if task.name == "mask" and row["person"] == people[0] and code:
                code = 3 - code
            for index, name in enumerate(task.classes):
                row[f"p_{task.name}_{name}"] = 0.98 if index == code else 0.02 / (len(task.classes) - 1)
        rows.append(row)
    pl.DataFrame(rows, schema=table.schema).write_csv(run / "validation.csv")
    return run, people[:2], people[0]


def test_suspects_lists_people_and_swaps_with_their_crops_and_a_page(finished, contradicted, tmp_path):
    run, people, swapped = contradicted
    before = hashes(finished.data)
    out = tmp_path / "out"
    words = ["--run", run, "--out", out, "--cache", finished.cache, "--json"]
    result = faceline("labels", "suspects", finished.data, *words)
    table = pl.read_csv(out / "suspects.csv", infer_schema=False)
    assert table.columns == ["task", "rank", "path", "person", "given", "suggested", "score", "crop"]
    gender, mask = (table.filter(pl.col("task") == name) for name in ("gender", "mask"))
    assert set(gender["person"]) == set(people)
    assert gender["rank"].to_list() == ["1"] * 7 + ["2"] * 7
    assert all(gender["given"] != gender["suggested"])
    assert mask["rank"].to_list() == ["1", "1"]
    assert set(mask["person"]) == {swapped}
    assert mask["given"].to_list() == mask["suggested"].reverse().to_list() == ["incorrect", "normal"]
    assert not table.filter(pl.col("task") == "age").height
    assert all((out / crop).read_bytes()[:2] == b"\xff\xd8" for crop in table["crop"])
    page = (out / "suspects.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    assert page.count("data:image/jpeg") == 16
    assert all(f"1. {person}" in page or f"2. {person}" in page for person in people)
    assert f"faceline review {run}" in page
    assert printed_json(result)["tasks"]["gender"] == {"total": 2, "unit": "people"}
    assert "split.held_out=all" in result.stderr, "the photos of the other folds are unknown"
    assert hashes(finished.data) == before


def test_suspects_can_be_limited_to_one_task_and_few_crops(finished, contradicted, tmp_path):
    words = ["--task", "gender", "--top", 1, "--cache", finished.cache]
    faceline("labels", "suspects", finished.data, "--run", contradicted[0], "--out", tmp_path / "out", *words)
    table = pl.read_csv(tmp_path / "out" / "suspects.csv", infer_schema=False)
    assert set(table["task"]) == {"gender"}
    assert table["crop"].null_count() == 7
    assert len(list((tmp_path / "out" / "crops").iterdir())) == 7


def test_without_the_crops_the_list_is_written_all_the_same(finished, contradicted, tmp_path):
    out = tmp_path / "out"
    words = ["--run", contradicted[0], "--out", out, "--cache", tmp_path / "empty"]
    result = faceline("labels", "suspects", finished.data, *words)
    assert "the list lacks the pictures of 14 crops: not in the cache" in result.stderr
    assert pl.read_csv(out / "suspects.csv", infer_schema=False)["crop"].null_count() == 16


def test_corrected_labels_are_no_suspects(finished, contradicted, tmp_path):
    run, *_ = contradicted
    out = tmp_path / "out"
    words = ["labels", "suspects", finished.data, "--run", run, "--out", out, "--cache", finished.cache]
    faceline(*words)
    shutil.copy(out / "suspects.csv", tmp_path / "accepted.csv")
    faceline(*words, "--set", f"data.corrections=[{tmp_path / 'accepted.csv'}]")
    assert pl.read_csv(out / "suspects.csv", infer_schema=False).is_empty()


def test_runs_with_other_held_out_folds_are_pooled(finished, tmp_path):
    photos = load_data(finished.data, TASKS, DataConfig()).train
    table = pl.read_csv(finished.run / "validation.csv", infer_schema=False)
    known = set(table["path"])
    others = [photo for photo in photos if photo.name not in known]
    shutil.copytree(finished.run, tmp_path / "other")
    rest = pl.concat([table] * 9).head(len(others)).with_columns(path=pl.Series([photo.name for photo in others]))
    rest.write_csv(tmp_path / "other" / "validation.csv")
    single = read_out_of_fold([finished.run], photos, TASKS)
    both = read_out_of_fold([finished.run, tmp_path / "other"], photos, TASKS)
    assert (len(single.photos), single.unknown) == (len(known), len(others))
    assert (both.photos, both.unknown) == (photos, 0)
    assert both.probabilities["age"].shape == (len(photos), 3)


def test_a_run_that_says_nothing_of_these_photos_is_refused(finished, some_data, tmp_path):
    with pytest.raises(DataError, match="no labelled photo of this data set was held out"):
        read_out_of_fold([finished.run], (), TASKS)
    shutil.copytree(finished.run, tmp_path / "run")
    (tmp_path / "run" / "validation.csv").unlink()
    with pytest.raises(BundleError, match=r"has no validation\.csv"):
        read_out_of_fold([tmp_path / "run"], (), TASKS)
    with pytest.raises(UsageError, match="--task smile: the run has no such task; it has mask, gender, age"):
        faceline("labels", "suspects", some_data, "--run", finished.run, "--out", tmp_path / "o", "--task", "smile")


def test_tomek_lists_both_photos_of_each_link_and_removals_that_apply_takes(finished, tmp_path):
    out = tmp_path / "out"
    options = ["--cache", finished.cache, "--device", "cpu", "--json"]
    result = printed_json(faceline("labels", "tomek", finished.data, "--run", finished.run, "--out", out, *options))
    links = pl.read_csv(out / "tomek.csv")
    assert len(links) > 0
    assert links.columns == ["task", "link", "path", "person", "given", "distance", "same_person", "remove"]
    for _, pair in links.group_by("task", "link"):
        assert len(pair) == 2
        assert pair["given"].n_unique() == 2
        assert pair["same_person"].to_list() == [pair["person"].n_unique() == 1] * 2
        assert pair["remove"].sum() == (pair["person"].n_unique() == 2)
    removals = pl.read_csv(out / "removals.csv", infer_schema=False)
    assert len(removals) == sum(counts["removals"] for counts in result["tasks"].values()) > 0
    applied = printed_json(faceline("labels", "apply", out / "removals.csv", finished.data, "--json"))
    assert sum(applied["changed"].values()) == removals.select("task", "path").n_unique()
    assert all(change["corrected"] is None for change in applied["changes"])


def test_apply_shows_what_changes_and_the_setting_to_train_with(finished, tmp_path):
    photo = load_data(finished.data, TASKS, DataConfig()).train[0]
    file = tmp_path / "corrections.csv"
    file.write_text(f"task,person,label\nage,{photo.person},61\n")
    before = hashes(finished.data)
    result = faceline("labels", "apply", file, finished.data)
    assert f"--set 'data.corrections=[{file}]'" in result.stdout
    assert "labels corrected: age 7" in result.stdout
    assert hashes(finished.data) == before


def test_check_counts_and_a_run_records_the_corrections(finished, tmp_path):
    photo = load_data(finished.data, TASKS, DataConfig()).train[0]
    file = tmp_path / "corrections.csv"
    file.write_text(f"task,person,label\nage,{photo.person},61\n")
    words = ["--set", f"data.corrections=[{file}]"]
    checked = printed_json(faceline("check", finished.data, *words, "--json"))
    run = tmp_path / "run"
    train_options = ["--out", run, "--cache", finished.cache, "--device", "cpu", *tiny_options()]
    faceline("train", finished.data, *words, *train_options)
    recorded = json.loads((run / "data.json").read_text())
    assert recorded["corrections"] == checked["corrections"]
    assert recorded["corrections"][0]["changed"] == {"age": 7}
    assert len(recorded["corrections"][0]["sha256"]) == 64
    plain = json.loads((finished.run / "data.json").read_text())
    assert plain["corrections"] == []
    assert recorded["classes"]["age"] != plain["classes"]["age"]


def test_a_run_with_other_edges_is_refused_even_if_the_classes_have_the_same_names(finished):
    photos = load_data(finished.data, TASKS, DataConfig()).train
    others = load_settings(None, ["tasks.age.edges=[35,60]"]).task_list()
    with pytest.raises(BundleError, match=r"other classes or edges of age: .*30\.0, 60\.0.* there, .*35\.0"):
        read_out_of_fold([finished.run], photos, others)
