"""Settings that no training can follow are refused before photos are hashed, faces found or folders made."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cache.errors import BundleError, UsageError
from pipeline.settings import load_settings
from pipeline.training.settings_check import refuse_unusable_settings, settings_without_effect
from tests.pipeline.conftest import TINY, faceline, tiny_options

HOUSE = Path(__file__).parents[3]
WRONG = {
    "tasks.gender.augment.every=[Normalize: {}]": "Normalize leaves float32",
    "tasks.gender.augment.every=[ToTensorV2: {}]": "ToTensorV2 leaves",
    "tasks.gender.augment.every=[CoarseDropout: {max_holes: 1}]": "CoarseDropout does not take",
    "model.backbone=tf_efficientnet_lite00": "The nearest names are tf_efficientnet_lite0",
    "model.backbone=inception_v3": "inception_v3 can't take inputs of 32x24",
    "train.optimiser=adamx": "no optimiser 'adamx'",
    "train.batch=1": r"train\.batch: test_resnet",
    "tasks.age.augment.groups=[{where: \"stam = 'mask5'\"}]": r"tasks\.age\.augment\.groups: .*stam",
    "tasks.age.augment.groups=[{where: age}]": r"tasks\.age\.augment\.groups: 'age' is no condition",
}


@pytest.mark.parametrize(("setting", "message"), WRONG.items())
def test_nothing_is_touched(setting, message, drawn, tmp_path, monkeypatch):
    def never(*_, **__):
        raise AssertionError("photos are read")

    monkeypatch.setattr("pipeline.chain.source_ids", never)
    monkeypatch.setattr("pipeline.chain.detect_photos", never)
    words = ("--out", tmp_path / "run", "--cache", tmp_path / "cache", "--device", "cpu", *tiny_options())
    with pytest.raises(UsageError, match=message):
        faceline("train", drawn, *words, "--set", setting)
    assert [*tmp_path.iterdir()] == []


def test_the_preview_and_the_comparison_refuse_them_too(drawn, tmp_path, monkeypatch):
    def never(*_, **__):
        raise AssertionError("photos are read")

    monkeypatch.setattr("pipeline.detection.detect.detect_photos", never)
    monkeypatch.setattr("pipeline.chain.source_ids", never)
    wrong = ("--set", "tasks.gender.augment.every=[Normalize: {}]")
    words = ("--cache", tmp_path / "cache", "--device", "cpu", *tiny_options())
    with pytest.raises(UsageError, match="Normalize leaves float32"):
        faceline("train", drawn, "--preview", "--out", tmp_path / "run", *words, *wrong)
    (tmp_path / "plain.yaml").write_text("seed: 1")
    (tmp_path / "wrong.yaml").write_text("model: {backbone: test_resnat}")
    with pytest.raises(UsageError, match=r"wrong\.yaml: model\.backbone: timm has no model 'test_resnat'"):
        files = (tmp_path / "plain.yaml", tmp_path / "wrong.yaml")
        options = [word for word in words if word != "model.backbone=test_resnet"]
        options.remove("--set")
        faceline("compare", drawn, *files, "--out", tmp_path / "compared", "--folds", 2, *options)
    assert {path.name for path in tmp_path.iterdir()} == {"plain.yaml", "wrong.yaml"}


@pytest.mark.parametrize(
    "setting",
    [
        "tasks.gender.augment.every=[OneOf: {transforms: [{HorizontalFlip: {}}], p: 1}]",
        "tasks.age.augment.groups=[{where: \"age >= 60 AND stem = 'mask5' AND CAST(substr(id, 1, 2) AS INT) > 3\"}]",
    ],
)
def test_what_works_is_not_refused(setting):
    refuse_unusable_settings(load_settings(None, [*TINY, setting]))


def test_masks_of_a_task_or_class_that_does_not_exist_are_refused():
    with pytest.raises(UsageError, match=r"masks\.bare: the task mask has no class 'none'"):
        refuse_unusable_settings(load_settings(None, [*TINY, "tasks.age.augment.masks=0.5", "masks.bare=none"]))
    refuse_unusable_settings(load_settings(None, [*TINY, "masks.bare=none"]))


def test_a_single_photo_to_train_on_is_refused_in_words(drawn, tmp_path):
    people = sorted(path for path in (drawn / "train" / "images").iterdir() if path.is_dir())[:2]
    for person in people:
        shutil.copy(sorted(person.glob("[!.]*.jpg"))[0], tmp_path / f"{person.name}.jpg")
    rows = "".join(f"{person.name}.jpg,{person.name},female\n" for person in people)
    (tmp_path / "labels.csv").write_text("path,person,gender\n" + rows)
    words = ("--out", tmp_path / "run", "--cache", tmp_path / "cache", "--device", "cpu", *tiny_options())
    only = ("--set", "tasks.mask=null", "--set", "tasks.age=null", "--set", "split.folds=2")
    with pytest.raises(UsageError, match=r"train\.batch: test_resnet normalises over the photos of a step"):
        faceline("train", tmp_path / "labels.csv", *words, *only)


def test_a_teacher_that_is_missing_is_refused_before_faces_are_found(drawn, tmp_path, monkeypatch):
    def never(*_, **__):
        raise AssertionError("photos are read")

    monkeypatch.setattr("pipeline.chain.source_ids", never)
    words = ("--out", tmp_path / "run", "--cache", tmp_path / "cache", "--device", "cpu", *tiny_options())
    with pytest.raises(BundleError, match="nowhere"):
        faceline("distill", drawn, "--teacher", tmp_path / "nowhere", *words)
    assert [*tmp_path.iterdir()] == []


def test_a_data_set_that_is_not_there_is_refused_before_torch_is_imported(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom pipeline.chain import train_data\n"
        "from pipeline.context import RunContext\nfrom pipeline.settings import load_settings\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "try: train_data(folder / 'nowhere', folder / 'run', RunContext(load_settings(), folder / 'cache'))\n"
        "except Exception as error: print(type(error).__name__, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=HOUSE)
    assert done.stdout.strip().endswith("Error False")


def test_settings_that_do_nothing_are_named():
    assert settings_without_effect(load_settings(None, ["train.epochs=9", "train.ema=0.9"])) == []
    frozen = ["tasks.age.train.freeze=true", "train.epochs=9", "train.ema=0.9", "train.loss=focal"]
    [warning] = settings_without_effect(load_settings(None, frozen))
    assert warning == "age: train.epochs, train.ema have no effect, as train.freeze makes no steps"
    [warning] = settings_without_effect(load_settings(None, ["tasks.age.train.views=9"]))
    assert warning == "age: train.views has no effect, as train.freeze is not set"
