import os

import pytest

from cache.errors import DataError, UsageError
from pipeline.intake.load import load_data
from pipeline.settings import DataConfig, load_settings

TASKS = load_settings().task_list()


def load(data):
    return load_data(data, TASKS, DataConfig())


def fatal_kinds(dataset):
    return [defect.kind for defect in dataset.defects if defect.fatal]


@pytest.fixture
def outside(tmp_path_factory):
    """A photo that is none of the data folder's."""
    photo = tmp_path_factory.mktemp("outside") / "private.jpg"
    photo.touch()
    return photo


def test_photos_of_one_folder_are_one_persons_and_those_at_the_top_one_persons_each(tmp_path):
    for name in ("a.jpg", "b.jpg", "김 민지/1.jpg", "김 민지/2.PNG"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    people = {photo.name: photo.person for photo in load(tmp_path).evaluation}
    assert people == {"a.jpg": "a.jpg", "b.jpg": "b.jpg", "김 민지/1.jpg": "김 민지", "김 민지/2.PNG": "김 민지"}


def test_a_link_out_of_a_plain_folder_is_refused_and_one_inside_it_is_a_photo(tmp_path, outside):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "b.jpg").symlink_to(tmp_path / "a.jpg")
    (tmp_path / "c.jpg").symlink_to(outside)
    dataset = load(tmp_path)
    assert [photo.name for photo in dataset.evaluation] == ["a.jpg", "b.jpg"]
    assert fatal_kinds(dataset) == ["path outside the data folder"]


def test_a_name_that_is_no_utf_8_can_be_written_anywhere_and_its_file_opened(tmp_path):
    raw = os.fsencode(tmp_path) + b"/bad\xff.jpg"
    os.close(os.open(raw, os.O_CREAT))
    [photo] = load(tmp_path).evaluation
    assert photo.name == r"bad\xff.jpg"
    assert photo.name.encode()
    assert photo.path.is_file()


def test_the_train_part_alone_is_answered_with_the_folder_to_name(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "train.csv").write_text("path\n")
    with pytest.raises(UsageError, match="name the folder that it is in"):
        load(tmp_path)


@pytest.mark.parametrize("make", ["train/images", "photos/more", "labels.csv"])
def test_a_data_set_without_a_photo_says_which_layouts_are_understood(tmp_path, make):
    if make.endswith(".csv"):
        (tmp_path / make).write_text("path,person\n")
    else:
        (tmp_path / make).mkdir(parents=True)
    with pytest.raises(DataError, match=r"(?s)holds no photos.*train/images.*path column"):
        load(tmp_path)


def test_a_link_that_leads_to_itself_is_reported(tmp_path):
    (tmp_path / "a.jpg").symlink_to(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg"):
        load(tmp_path)
