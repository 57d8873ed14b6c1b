"""From photos to predictions, and what a run folder promises."""

import csv
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

from cache.errors import DataError, UsageError
from pipeline.settings import load_settings
from tests.pipeline.conftest import faceline, tiny_options

CHECKER = Path(__file__).parents[3] / "shared" / "check_contract.py"


def test_a_run_ends_with_one_json_object_of_its_scores(finished):
    told = json.loads(finished.stdout.splitlines()[-1])
    assert set(told["validation"]) == {"joint", "mask", "gender", "age"}
    assert told["predicted"]["ok"] + told["predicted"]["no_face"] == 42
    assert set(told["seconds"]) == {"check", "detect", "train", "predict"}


def test_every_asked_photo_has_a_prediction_and_an_answer_in_the_order_of_info_csv(finished):
    asked = pl.read_csv(finished.data / "eval" / "info.csv")["ImageID"].to_list()
    predictions = pl.read_csv(finished.run / "predictions.csv")
    submission = pl.read_csv(finished.run / "submission.csv")
    assert [Path(path).name for path in predictions["path"]] == asked
    assert submission.columns == ["ImageID", "ans"]
    assert submission["ImageID"].to_list() == asked
    assert submission["ans"].to_list() == predictions["class"].to_list()


def test_predictions_have_the_contracts_columns_and_probabilities_that_add_up(finished):
    table = pl.read_csv(finished.run / "predictions.csv")
    assert table.columns == [
        "path", "status", "found_by", "x1", "y1", "x2", "y2", "score",
        "mask", "p_mask_wear", "p_mask_incorrect", "p_mask_normal",
        "gender", "p_gender_male", "p_gender_female",
        "age", "p_age_<30", "p_age_30-59", "p_age_>=60", "class", "faces",
    ]  # fmt: skip
    total = table.select(pl.sum_horizontal("p_age_<30", "p_age_30-59", "p_age_>=60"))["p_age_<30"]
    assert (total - 1).abs().max() < 1e-3


def test_the_folds_of_a_run_keep_every_person_on_one_side(finished):
    with (finished.run / "folds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 * 7
    people = {row["person"]: {r["fold"] for r in rows if r["person"] == row["person"]} for row in rows}
    assert all(len(folds) == 1 for folds in people.values())
    assert len({row["fold"] for row in rows}) == 5


def test_the_run_can_be_repeated_from_its_config(finished):
    settings = load_settings(finished.run / "config.yaml")
    assert settings.as_yaml() == (finished.run / "config.yaml").read_text()
    assert settings.tasks["age"].model.backbone == "test_resnet"


def test_run_json_tells_versions_device_seed_and_how_it_ended(finished):
    record = json.loads((finished.run / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["device"] == "cpu"
    assert record["seeds"] == {"seed": 0}
    assert record["start"] <= record["end"]
    assert record["versions"]["facenet-pytorch"] == "2.5.3"


def test_the_bundle_names_the_hash_of_its_files_and_holds_no_pickle(finished):
    described = json.loads((finished.run / "bundle" / "bundle.json").read_text())
    for task in ("mask", "gender", "age"):
        content = (finished.run / "bundle" / described["models"][task]["file"]).read_bytes()
        assert described["models"][task]["sha256"] == hashlib.sha256(content).hexdigest()
    assert not [p for p in finished.run.rglob("*") if p.suffix in {".pt", ".pth", ".pkl", ".pickle"}]


@pytest.mark.skipif(not CHECKER.is_file(), reason="needs ../shared")
def test_the_run_keeps_the_contract_as_seen_from_outside(finished):
    words = [sys.executable, CHECKER, finished.run, "--data", finished.data]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_same_command_again_changes_nothing_and_other_settings_are_refused(finished):
    before = {p: p.read_bytes() for p in finished.run.rglob("*") if p.suffix in {".csv", ".safetensors", ".jsonl"}}
    words = ["run", finished.data, "--out", finished.run, "--cache", finished.cache, "--device", "cpu"]
    faceline(*words, *tiny_options())
    assert all(path.read_bytes() == content for path, content in before.items())
    with pytest.raises(UsageError, match=r"seed: 0 there, 1 now"):
        faceline(*words, *tiny_options(), "--set", "seed=1")


def test_a_transform_that_does_not_exist_is_told_before_any_photo_is_looked_at(finished, tmp_path):
    words = ["--set", "tasks.age.augment.every=[{Sharpenn: {p: 1.0}}]", "--cache", tmp_path / "cache"]
    with pytest.raises(UsageError, match="albumentations has no transform 'Sharpenn'"):
        faceline("train", finished.data, "--out", tmp_path / "run", *words, *tiny_options())
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "cache" / "crops").exists()


def test_metrics_have_a_line_per_epoch_and_task(finished):
    lines = [json.loads(line) for line in (finished.run / "metrics.jsonl").read_text().splitlines()]
    assert [(line["task"], line["epoch"]) for line in lines] == [("mask", 1), ("gender", 1), ("age", 1)]
    assert all(0 <= line["macro_f1"] <= 1 for line in lines)


def test_records_that_cannot_be_written_are_warnings_and_the_run_ends_well(finished, tmp_path):
    run = tmp_path / "run"
    for name in ("run.json", "data.json", "metrics.jsonl"):
        (run / name).mkdir(parents=True)
    words = ["train", finished.data, "--out", run, "--cache", finished.cache, "--device", "cpu", *tiny_options()]
    printed = faceline(*words, "--set", "tasks.mask=null", "--set", "tasks.age=null")
    assert all(
        f"{run / name} can't be written" in printed.stderr for name in ("run.json", "data.json", "metrics.jsonl")
    )
    assert (run / "bundle" / "bundle.json").is_file()


@pytest.mark.filterwarnings("ignore")  # TensorBoard's own
def test_a_run_gives_its_trackers_curves_crops_and_scores(finished, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = ["train", finished.data, "--out", tmp_path, "--cache", finished.cache, "--device", "cpu", *tiny_options()]
    only_gender = ["--set", "tasks.mask=null", "--set", "tasks.age=null"]
    assert "tensorboard records in" in faceline(*words, *only_gender, "--set", "train.trackers=[tensorboard]").stderr
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert {"gender/train_loss", "gender/macro_f1", "final/joint/macro_f1"} <= set(events.Tags()["scalars"])
    assert events.Tags()["images"] == ["crops", "curves"]
    metrics = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert events.Scalars("gender/train_loss")[0].value == pytest.approx(metrics["train_loss"])
    faceline(*words, *only_gender)  # trackers are no part of the result, so the run can be repeated without them


def test_photos_that_were_added_since_are_refused_in_the_same_folder(finished, some_data, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished.run, run)
    folder = next((some_data / "train" / "images").iterdir())
    shutil.copytree(folder, folder.with_name("999999_female_Asian_44"))
    with pytest.raises(UsageError, match="does not fit these photos"):
        faceline("train", some_data, "--out", run, "--cache", finished.cache, "--device", "cpu", *tiny_options())


def test_training_on_every_photo_claims_no_score(finished, tmp_path):
    run = tmp_path / "run"
    words = ["--out", run, "--cache", finished.cache, "--device", "cpu", *tiny_options()]
    printed = faceline("run", finished.data, *words, "--set", "split.held_out=null")
    assert "macro-F1" not in printed.stdout
    assert not (run / "validation.csv").exists()
    assert (
        "All photos were trained on, so there is nobody to score the networks on." in (run / "report.html").read_text()
    )


def test_a_damaged_pack_is_told_and_made_again(finished, tmp_path):
    cache = shutil.copytree(finished.cache, tmp_path / "cache")
    for pixels in cache.glob("packs/*/pixels.npy"):
        content = bytearray(pixels.read_bytes())
        content[-1] ^= 1
        pixels.write_bytes(content)
    words = ["--out", tmp_path / "run", "--cache", cache, "--device", "cpu", *tiny_options()]
    assert "is damaged" in faceline("train", finished.data, *words).stderr
    assert (tmp_path / "run" / "metrics.jsonl").is_file()


def test_a_class_without_photos_is_told_and_a_task_without_any_is_refused(finished, tmp_path):
    table = tmp_path / "labels.csv"
    rows = []
    for number, photo in enumerate(sorted((finished.data / "eval" / "images").iterdir())):
        shutil.copy(photo, tmp_path / photo.name)
        rows.append({"path": photo.name, "person": str(number // 3), "gender": "male", "age": ""})
    pl.DataFrame(rows).write_csv(table)
    words = ["train", table, "--cache", finished.cache, "--device", "cpu", *tiny_options(), "--set", "tasks.mask=null"]
    printed = faceline(*words, "--out", tmp_path / "run", "--set", "tasks.age=null")
    assert "no photo of class 'female' is left to train on" in printed.stderr
    with pytest.raises(DataError, match=r"tasks\.age=null"):
        faceline(*words, "--out", tmp_path / "other")


def test_a_table_with_other_tasks_trains_and_predicts_them(finished, tmp_path):
    data = tmp_path / "table"
    rows = []
    for photo in sorted((finished.data / "train" / "images").rglob("*.jpg")):
        if not photo.name.startswith("."):
            name = f"{len(rows)}{photo.suffix}"
            data.mkdir(exist_ok=True)
            shutil.copy(photo, data / name)
            years = "" if len(rows) % 9 == 0 else photo.parent.name.split("_")[3]
            masked = "yes" if "mask" in photo.stem else "no"
            rows.append({"file": name, "who": photo.parent.name, "masked": masked, "years": years})
    pl.DataFrame(rows).write_csv(data / "labels.csv")
    config = {
        "data": {"columns": {"path": "file", "person": "who", "masked": "masked", "age": "years"}},
        "tasks": {"mask": None, "gender": None, "masked": {"classes": ["no", "yes"]},
                  "age": {"classes": ["under 40", "40 and over"], "edges": [40]}},
    }  # fmt: skip
    (tmp_path / "tasks.yaml").write_text(yaml.safe_dump(config))
    run = tmp_path / "run"
    words = ["--config", tmp_path / "tasks.yaml", "--out", run, "--cache", finished.cache, "--device", "cpu"]
    faceline("run", data, *words, *tiny_options())
    table = pl.read_csv(run / "predictions.csv")
    assert len(table) == len(rows)
    assert {"p_masked_yes", "p_age_under 40", "class"} <= set(table.columns)
    assert set(table["class"].drop_nulls()) <= {0, 1, 2, 3}
    data_record = json.loads((run / "data.json").read_text())
    assert sum(data_record["classes"]["age"].values()) < sum(data_record["classes"]["masked"].values())
