import shutil
import unicodedata

import pytest

from pipeline.intake.load import load_data
from pipeline.intake.photo import Dataset
from pipeline.settings import DataConfig, load_settings

TASKS = load_settings().task_list()


def load(data, tasks=TASKS) -> Dataset:
    return load_data(data, tasks, DataConfig())


def kinds(dataset):
    return sorted({defect.kind for defect in dataset.defects})


@pytest.fixture
def data(tmp_path):
    """The layout with empty photos: intake looks at names only."""
    people = ("000001_female_Asian_45", "000001-1_male_Asian_18", "003397_female_Asian_19", "003397_female_Asian_60")
    for name in people:
        folder = tmp_path / "train" / "images" / name
        folder.mkdir(parents=True)
        for stem in ("mask1", "mask2", "mask3", "mask4", "mask5", "incorrect_mask", "normal"):
            (folder / f"{stem}.jpg").touch()
    rows = [folder.name for folder in sorted((tmp_path / "train" / "images").iterdir())]
    lines = [",".join([*row.split("_"), row]) for row in rows]
    (tmp_path / "train" / "train.csv").write_text("\n".join(["id,gender,race,age,path", *lines]))
    (tmp_path / "eval" / "images").mkdir(parents=True)
    for name in ("b.jpg", "a.jpg"):
        (tmp_path / "eval" / "images" / name).touch()
    (tmp_path / "eval" / "info.csv").write_text("ImageID,ans\nb.jpg,0\na.jpg,0\n")
    return tmp_path


def test_labels_come_from_folder_and_stem(data):
    photos = {photo.name: photo for photo in load(data).train}
    assert len(photos) == 28
    photo = photos["train/images/000001_female_Asian_45/incorrect_mask.jpg"]
    assert dict(photo.labels) == {"mask": "incorrect", "gender": "female", "age": "45"}
    assert photos["train/images/000001_female_Asian_45/mask5.jpg"].labels["mask"] == "wear"


def test_a_person_is_the_folder_and_not_the_id(data):
    assert len({photo.person for photo in load(data).train}) == 4


def test_the_eval_part_keeps_the_order_of_info_csv(data):
    dataset = load(data)
    assert [photo.path.name for photo in dataset.evaluation] == ["b.jpg", "a.jpg"]
    assert dataset.submission_ids == ("b.jpg", "a.jpg")
    assert [photo.name for photo in load(data / "eval").evaluation] == ["images/b.jpg", "images/a.jpg"]


def test_endings_differ_within_a_person_and_junk_is_counted(data):
    folder = data / "train" / "images" / "000001_female_Asian_45"
    (folder / "mask1.jpg").rename(folder / "mask1.JPEG")
    (folder / "normal.jpg").rename(folder / "normal.png")
    for junk in ("._mask1.jpg", ".DS_Store", "notes.txt", "mask9.jpg", "extra.HEIC"):
        (folder / junk).touch()
    (data / "train" / "images" / "._000001_female_Asian_45").mkdir()
    dataset = load(data)
    assert len(dataset.train) == 28
    assert sum(dataset.skipped.values()) == 6
    assert dataset.skipped["macOS shadow files (._*)"] == 2
    assert kinds(dataset) == []


def test_everything_that_is_missing_or_disagrees_is_a_defect(data):
    images = data / "train" / "images"
    (images / "000001_female_Asian_45" / "mask3.jpg").unlink()
    shutil.rmtree(images / "000001-1_male_Asian_18")
    shutil.copytree(images / "003397_female_Asian_19", images / "000777_male_Asian_33")
    table = data / "train" / "train.csv"
    table.write_text(table.read_text().replace("003397,female,Asian,60", "003397,male,Asian,60"))
    (data / "eval" / "images" / "a.jpg").unlink()
    (data / "eval" / "images" / "unlisted.jpg").touch()
    dataset = load(data)
    assert kinds(dataset) == [
        "missing file", "photos without a row", "row and folder disagree", "row without photos"
    ]  # fmt: skip
    assert not any(defect.fatal for defect in dataset.defects)
    assert len(dataset.evaluation) == 2, "a photo whose file is missing still gets a prediction"
    assert dataset.skipped["photos in eval/images that info.csv does not ask for"] == 1


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("000009_female_Asian_150", "unknown label", "between 0 and 120"),
        ("000009_woman_Asian_30", "unknown label", "none of male, female"),
        ("000009_female_30", "folder name", "id_gender_race_age"),
    ],
)
def test_a_folder_without_a_valid_label_is_fatal_and_named(data, name, kind, message):
    folder = data / "train" / "images" / name
    folder.mkdir()
    (folder / "normal.jpg").touch()
    [defect] = [defect for defect in load(data).defects if defect.fatal]
    assert defect.kind == kind
    assert name in defect.where
    assert message in defect.message


@pytest.mark.parametrize("path", ["../secret", "a/b", ".."])
def test_a_row_that_leaves_the_folder_is_refused(data, path):
    with (data / "train" / "train.csv").open("a") as file:
        file.write(f"\n9,male,Asian,30,{path}\n")
    with (data / "eval" / "info.csv").open("a") as file:
        file.write("../../etc/passwd,0\n")
    fatal = [defect for defect in load(data).defects if defect.fatal]
    assert [defect.kind for defect in fatal] == ["path outside the data folder"] * 2
    assert "train.csv, row 6" in fatal[0].where
    assert "info.csv, row 4" in fatal[1].where


def test_a_byte_order_mark_and_duplicate_rows_are_handled(data):
    (data / "eval" / "info.csv").write_text("\ufeffImageID,ans\r\nb.jpg,0\r\na.jpg,0\r\nb.jpg,0\r\n", encoding="utf-8")
    dataset = load(data)
    assert dataset.submission_ids == ("b.jpg", "a.jpg")
    assert [(defect.kind, defect.fatal) for defect in dataset.defects] == [("duplicate row", True)]


def test_a_name_is_found_in_either_unicode_form(data):
    (data / "eval" / "images" / unicodedata.normalize("NFD", "사진.jpg")).touch()
    (data / "eval" / "info.csv").write_text(f"ImageID,ans\n{unicodedata.normalize('NFC', '사진.jpg')},0\n")
    [photo] = load(data).evaluation
    assert photo.path.is_file()


def test_another_task_is_looked_for_in_train_csv(data):
    table = data / "train" / "train.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0] + ",glasses", *(line + ",yes" for line in lines[1:])]))
    tasks = load_settings(None, ["tasks.glasses.classes=['no','yes']", "tasks.mask=null"]).task_list()
    photos = load(data, tasks).train
    assert all(photo.labels["glasses"] == "yes" and "mask" not in photo.labels for photo in photos)


def fatal(dataset):
    return [(defect.kind, defect.where) for defect in dataset.defects if defect.fatal]


def test_links_out_of_the_data_folder_are_refused_and_never_photos(data, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "private.jpg").touch()
    person = data / "train" / "images" / "000001_female_Asian_45"
    for place in (person / "mask1.jpg", data / "eval" / "images" / "a.jpg"):
        place.unlink()
        place.symlink_to(outside / "private.jpg")
    (person.parent / "000002_male_Asian_30").symlink_to(outside)
    dataset = load(data)
    assert fatal(dataset) == [
        ("path outside the data folder", str(person.parent / "000002_male_Asian_30")),
        ("path outside the data folder", str(person / "mask1.jpg")),
        ("path outside the data folder", f"{data / 'eval' / 'info.csv'}, row 3"),
    ]
    assert not any(photo.path.is_symlink() for photo in (*dataset.train, *dataset.evaluation))
    assert len(dataset.submission_ids) == len(dataset.evaluation) == 1


@pytest.mark.parametrize("part", ["train", "eval"])
def test_the_folders_of_the_layout_may_not_be_links_that_leave_either(data, part, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "images"
    (data / part / "images").rename(elsewhere)
    (data / part / "images").symlink_to(elsewhere)
    dataset = load(data)
    assert (dataset.train if part == "train" else dataset.evaluation) == ()
    assert fatal(dataset) == [("path outside the data folder", str(data / part / "images"))]


def test_an_eval_part_without_its_list_or_its_photos_is_still_accounted_for(data):
    (data / "eval" / "info.csv").rename(data / "info.bak")
    assert [photo.path.name for photo in load(data).evaluation] == ["a.jpg", "b.jpg"]
    (data / "info.bak").rename(data / "eval" / "info.csv")
    shutil.rmtree(data / "eval" / "images")
    dataset = load(data)
    assert dataset.submission_ids == ("b.jpg", "a.jpg")
    assert kinds(dataset) == ["missing file"]
    shutil.rmtree(data / "train")
    assert len(load(data).evaluation) == 2


def test_an_image_id_too_long_for_a_file_is_a_missing_file(data):
    (data / "eval" / "info.csv").write_text(f"ImageID,ans\n{'a' * 300}.jpg,0\nb.jpg,0\n\n")
    assert kinds(load(data)) == ["missing file"]


def test_an_empty_folder_is_a_row_without_photos(data):
    folder = data / "train" / "images" / "000001_female_Asian_45"
    for photo in folder.iterdir():
        photo.unlink()
    assert [(d.kind, d.fatal) for d in load(data).defects] == [("row without photos", False)]


def test_two_rows_of_a_folder_are_fatal_only_when_they_disagree(data):
    table = data / "train" / "train.csv"
    rows = table.read_text()
    table.write_text(f"{rows}\n000001,female,Asian,45,000001_female_Asian_45")
    assert [(d.kind, d.fatal) for d in load(data).defects] == [("duplicate row", False)]
    table.write_text(f"{rows}\n000001,female,Asian,46,000001_female_Asian_45")
    assert [(d.kind, d.fatal) for d in load(data).defects] == [("duplicate row", True)]


def test_mask_classes_that_the_file_names_do_not_know_are_fatal_before_training(data):
    tasks = load_settings(None, ["tasks.mask.classes=['yes','no']"]).task_list()
    assert {kind for kind, _ in fatal(load(data, tasks))} == {"unknown label"}


def test_a_folder_with_another_name_matters_only_to_tasks_that_read_it(data):
    folder = data / "train" / "images" / "someone"
    folder.mkdir()
    (folder / "normal.jpg").touch()
    assert fatal(load(data)) == [("folder name", str(folder))]
    mask_only = load_settings(None, ["tasks.gender=null", "tasks.age=null"]).task_list()
    dataset = load(data, mask_only)
    assert fatal(dataset) == []
    assert len(dataset.train) == 29


@pytest.mark.parametrize("image_id", ["a.JPG", "A.jpg", "a"])
def test_an_image_id_in_other_capitals_or_without_its_ending_is_found(data, image_id):
    (data / "eval" / "info.csv").write_text(f"ImageID,ans\n{image_id},0\nb.jpg,0\n")
    dataset = load(data)
    assert [photo.path.name for photo in dataset.evaluation] == ["a.jpg", "b.jpg"]
    assert dataset.submission_ids == (image_id, "b.jpg")
    assert dataset.defects == ()
