import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from cache.errors import DataError, UsageError
from pipeline.intake import check
from pipeline.intake.check import check_data
from pipeline.intake.load import load_data
from pipeline.intake.photo import OUTSIDE, Dataset, Defect, Photo
from pipeline.settings import DataConfig, load_settings
from tests.pipeline.conftest import faceline


def checked(data, code=0):
    result = faceline("check", data, "--json", ok=False)
    assert result.exit_code == code, result.exception
    return json.loads(result.stdout.splitlines()[-1])


def kinds(result):
    return sorted(defect["kind"] for defect in result["defects"])


def test_classes_are_counted_in_photos_and_people(drawn):
    result = checked(drawn)
    assert result["train"] == {"photos": 84, "people": 12}
    assert result["eval"] == {"photos": 42}
    assert result["tasks"]["mask"] == {
        "wear": {"photos": 60, "people": 12},
        "incorrect": {"photos": 12, "people": 12},
        "normal": {"photos": 12, "people": 12},
    }
    assert sum(counts["photos"] for counts in result["joint"].values()) == 84
    assert len(result["joint"]) == 18
    assert result["skipped"] == {"macOS shadow files (._*)": 1}
    assert result["defects"] == []


def test_identical_and_unreadable_photos_are_found(some_data):
    first, second, *_ = sorted((some_data / "train" / "images").iterdir())
    [normal], [mask1] = first.glob("normal.*"), first.glob("mask1.*")
    [copied], [replaced] = second.glob("mask1.*"), second.glob("mask2.*")
    to_predict = sorted((some_data / "eval" / "images").iterdir())
    shutil.copy(normal, mask1)  # one face with two labels
    replaced.write_bytes(copied.read_bytes())  # one person's photo twice
    to_predict[0].write_bytes(next(second.glob("normal.*")).read_bytes())
    to_predict[1].write_bytes(to_predict[2].read_bytes()[:3000])
    result = checked(some_data)
    assert kinds(result) == [
        "identical photos",
        "identical photos in train and eval",
        "identical photos, different labels",
        "unreadable file",
    ]
    assert result["fatal"] == 0


def test_an_identical_photo_of_two_people_joins_them(some_data):
    young = [f for f in sorted((some_data / "train" / "images").iterdir()) if f.name.split("_")[3] == "60"]
    same = [f for f in young if f.name.split("_")[1] == young[0].name.split("_")[1]]
    if len(same) < 2:
        twin = young[0].with_name(young[0].name.replace(young[0].name.split("_")[0], "000999"))
        shutil.copytree(young[0], twin)
    else:
        [first], [second] = same[0].glob("normal.*"), same[1].glob("normal.*")
        second.write_bytes(first.read_bytes())
    assert "identical photos of two people" in kinds(checked(some_data))


def test_a_fatal_defect_exits_1_and_names_the_file(some_data):
    (some_data / "train" / "images" / "000500_female_Asian_200").mkdir()
    result = checked(some_data, code=1)
    assert result["fatal"] == 1
    assert "000500_female_Asian_200" in result["defects"][0]["where"]
    with pytest.raises(DataError, match="000500_female_Asian_200"):
        faceline("train", some_data)


def test_the_tables_are_printed_for_people(drawn):
    text = faceline("check", drawn).stdout
    assert "passed over: macOS shadow files" in text
    assert "mask incorrect" in text
    assert "0 defects, 0 fatal." in text
    assert f"Next: faceline detect {drawn}" in text


def test_a_plain_folder_is_photos_to_predict(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    for name in ("a.JPG", "deep/er/b.png", "notes.txt", "._a.JPG", ".hidden/c.jpg", "d.heic"):
        Pillow.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / name, "PNG")
    dataset = load_data(tmp_path, load_settings().task_list(), DataConfig())
    assert dataset.layout == "folder"
    assert [photo.name for photo in dataset.evaluation] == ["a.JPG", "d.heic", "deep/er/b.png"]
    assert sum(dataset.skipped.values()) == 3


@pytest.mark.parametrize(("name", "error"), [("empty", DataError), ("nowhere", UsageError), ("file.txt", UsageError)])
def test_what_is_no_data_is_refused(tmp_path, name, error):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").touch()
    with pytest.raises(error, match=name):
        load_data(tmp_path / name, load_settings().task_list(), DataConfig())


def twins(*photos, tasks=("gender", "age"), evaluation=()):
    dropped = [f"tasks.{name}=null" for name in ("mask", "gender", "age") if name not in tasks]
    chosen = load_settings(None, dropped).task_list()
    dataset = Dataset(Path(), "table", train=photos, evaluation=evaluation)
    digests = {photo.path: "same" for photo in (*photos, *evaluation)}
    return [(d.kind, d.where) for d in check_data(dataset, chosen, decode=None, digests=digests).defects]


def photo(name, person="p", **labels):
    return Photo(Path(name), name, person, labels)


def test_every_file_with_the_bytes_of_an_earlier_one_is_a_defect_of_its_own():
    assert twins(*(photo(name, age="30") for name in "abc"), evaluation=[photo("d")]) == [
        ("identical photos", "b"),
        ("identical photos", "c"),
        ("identical photos in train and eval", "d"),
    ]


def test_two_people_and_two_labels_on_one_photo_are_both_reported():
    assert twins(photo("a", "p", age="30"), photo("b", "q", age="31")) == [
        ("identical photos of two people", "b"),
        ("identical photos, different labels", "b"),
    ]


def test_a_label_written_otherwise_or_left_out_is_no_other_label():
    assert twins(photo("a", age="30"), photo("b", age="30.0", gender="male")) == [("identical photos", "b")]


def test_the_json_of_a_name_that_is_no_utf_8_is_utf_8():
    defect = Defect("missing file", "bad\udcff.jpg", "there is no file bad\udcff.jpg")
    result = check_data(Dataset(Path(), "table", defects=(defect,)), [], decode=None, digests={}).as_json()
    assert json.dumps(result, ensure_ascii=False).encode()


def test_every_kind_of_defect_that_the_code_names_is_described():
    folder = Path(check.__file__).parent
    for path in folder.glob("*.py"):
        for kind in re.findall(r'(?:Defect|add_defect)\(\s*"([^"]+)"', path.read_text()):
            assert kind in check.DEFECT_KINDS, path.name
    assert OUTSIDE in check.DEFECT_KINDS
