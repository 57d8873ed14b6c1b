"""The same command finds other photos under the same names: a run, a comparison and its neighbours notice."""

import json
import shutil

import cv2
import polars as pl
import pytest

from cache.errors import UsageError
from tests.pipeline.conftest import drawn_data, faceline, tiny_options


@pytest.fixture
def copied_run(finished, tmp_path):
    """A finished run in a folder that a test may harm."""
    return shutil.copytree(finished.run, tmp_path / "run")


def train(finished, data, run):
    faceline("train", data, "--out", run, "--cache", finished.cache, "--device", "cpu", "--quiet", *tiny_options())


def replace_photos(data, chosen):
    """Mirror these photos, and return how many there are."""
    photos = [photo.path for photo in drawn_data(data) if chosen(photo)]
    for path in photos:
        cv2.imwrite(str(path), cv2.imread(str(path))[:, ::-1])
    return len(photos)


def held_out_names(run):
    return set(pl.read_csv(run / "validation.csv")["path"])


def test_a_run_keeps_the_source_of_each_photo(finished):
    photos, folds = (pl.read_csv(finished.run / name) for name in ("photos.csv", "folds.csv"))
    assert photos.columns == ["path", "source"]
    assert folds.columns == ["path", "person", "fold"]
    assert photos["path"].to_list() == folds["path"].to_list()
    assert photos["source"].str.len_chars().unique().to_list() == [64]


def test_replaced_photos_are_named_and_nothing_in_the_run_changes(finished, some_data, copied_run):
    before = {path: path.read_bytes() for path in copied_run.rglob("*") if path.is_file()}
    name = drawn_data(some_data)[3].name
    replace_photos(some_data, lambda photo: photo.name == name)
    with pytest.raises(UsageError, match=rf"one photo was replaced .*\({name}\)(?s:.*)--out"):
        train(finished, some_data, copied_run)
    count = replace_photos(some_data, lambda photo: photo.name != name)
    with pytest.raises(UsageError, match=rf"{count + 1} photos were replaced .* and {count - 2} more\)"):
        train(finished, some_data, copied_run)
    assert {path: path.read_bytes() for path in copied_run.rglob("*") if path.is_file()} == before


def test_a_run_without_photos_csv_knows_them_by_validation_csv_or_data_json(finished, some_data, copied_run):
    (copied_run / "photos.csv").unlink()
    train(finished, some_data, copied_run)
    (copied_run / "photos.csv").unlink()
    names = held_out_names(copied_run)
    replace_photos(some_data, lambda photo: photo.name not in names)
    with pytest.raises(UsageError, match=r"data\.json is of other photos or labels"):
        train(finished, some_data, copied_run)
    count = replace_photos(some_data, lambda photo: photo.name in names)
    with pytest.raises(UsageError, match=f"{count} photos were replaced"):
        train(finished, some_data, copied_run)


def test_a_run_that_knows_nothing_of_its_photos_is_continued(finished, some_data, copied_run):
    for name in ("photos.csv", "validation.csv", "data.json"):
        (copied_run / name).unlink()
    train(finished, some_data, copied_run)
    assert (copied_run / "photos.csv").read_bytes() == (finished.run / "photos.csv").read_bytes()


def test_a_run_without_newer_settings_in_its_config_is_continued(finished, some_data, copied_run):
    config = copied_run / "config.yaml"
    lines = config.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(("  repeats:", "  unsure:"))]
    assert len(kept) == len(lines) - 2
    config.write_text("".join(kept))
    train(finished, some_data, copied_run)


def test_a_comparison_names_replaced_photos(finished, some_data, tmp_path):
    (tmp_path / "plain.yaml").write_text("tasks: {age: null, gender: null}")
    words = ["--folds", 2, "--first", 1, "--out", tmp_path / "out", "--cache", finished.cache, "--device", "cpu"]
    faceline("compare", some_data, tmp_path / "plain.yaml", *words, *tiny_options())
    name = drawn_data(some_data)[0].name
    replace_photos(some_data, lambda photo: photo.name == name)
    with pytest.raises(UsageError, match=f"one photo was replaced .*{name}"):
        faceline("compare", some_data, tmp_path / "plain.yaml", *words, *tiny_options())


def test_doubtful_labels_leave_out_photos_that_are_other_files_now(finished, some_data, tmp_path):
    names = held_out_names(finished.run)
    name = sorted(names)[0]
    replace_photos(some_data, lambda photo: photo.name == name)
    words = ["labels", "suspects", some_data, "--run", finished.run, "--out", tmp_path, "--cache", finished.cache]
    result = faceline(*words, "--json")
    assert f"1 labelled photos are no longer the files that were held out, such as {name}" in result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["photos"] == len(names) - 1
