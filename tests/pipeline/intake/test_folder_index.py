import unicodedata

import pytest

from pipeline.intake.folder_index import FolderIndex, spelled


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    (folder / "in").mkdir(parents=True)
    (tmp_path / "root too").mkdir()
    for name in ("root/in/a.jpg", "root/in/ b.jpg", "root too/c.jpg"):
        (tmp_path / name).touch()
    return folder


def test_a_file_is_found_as_it_is_spelled_or_with_stray_spaces(root):
    listing = FolderIndex(root)
    assert listing.find("in", "a.jpg").there
    assert listing.find("in", " a.jpg ").file == "a.jpg"
    assert listing.find("in", " b.jpg").file == " b.jpg"


@pytest.mark.parametrize(("disk", "asked"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_file_is_found_in_either_unicode_form(root, disk, asked):
    (root / unicodedata.normalize(disk, "사진.jpg")).touch()
    found = FolderIndex(root).find("", unicodedata.normalize(asked, "사진.jpg"))
    assert found.there
    assert found.file == unicodedata.normalize(disk, "사진.jpg")


@pytest.mark.parametrize("name", ["no.jpg", "a" * 300 + ".jpg"])
def test_what_is_not_there_keeps_the_name_it_was_asked_by(root, name):
    for folder in ("in", "none", "in/a.jpg", "f" * 300):
        found = FolderIndex(root).find(folder, name)
        assert (found.file, found.there, found.outside) == (name, False, False)


def test_links_that_stay_are_followed_and_links_that_leave_or_circle_are_not(root):
    (root / "in" / "stays.jpg").symlink_to(root / "in" / "a.jpg")
    (root / "in" / "leaves.jpg").symlink_to(root.parent / "root too" / "c.jpg")
    (root / "in" / "circles.jpg").symlink_to(root / "in" / "circles.jpg")
    listing = FolderIndex(root)
    assert listing.find("in", "stays.jpg").there
    assert not listing.find("in", "circles.jpg").there
    found = listing.find("in", "leaves.jpg")
    assert found.outside
    assert not found.there


def test_a_file_behind_a_linked_folder_that_leaves_is_outside(root):
    (root / "door").symlink_to(root.parent / "root too")
    assert FolderIndex(root).find("door", "c.jpg").outside


def test_a_name_with_bytes_that_are_no_text_is_spelled_out():
    assert spelled("bad\udcff.jpg") == r"bad\xff.jpg"
    assert spelled("사진.jpg") == "사진.jpg"
