import unicodedata

import pytest

from pipeline.intake.folder_index import FolderIndex, printable_name


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
    assert listing.find("in", "a.jpg").exists
    assert listing.find("in", " a.jpg ").name == "a.jpg"
    assert listing.find("in", " b.jpg").name == " b.jpg"


@pytest.mark.parametrize(("disk", "requested"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_file_is_found_in_either_unicode_form(root, disk, requested):
    (root / unicodedata.normalize(disk, "사진.jpg")).touch()
    file = FolderIndex(root).find("", unicodedata.normalize(requested, "사진.jpg"))
    assert file.exists
    assert file.name == unicodedata.normalize(disk, "사진.jpg")


@pytest.mark.parametrize("name", ["no.jpg", "a" * 300 + ".jpg"])
def test_what_is_not_there_keeps_the_requested_name(root, name):
    for folder in ("in", "none", "in/a.jpg", "f" * 300):
        file = FolderIndex(root).find(folder, name)
        assert (file.name, file.exists, file.outside) == (name, False, False)


def test_links_that_stay_are_followed_and_links_that_leave_or_circle_are_not(root):
    (root / "in" / "stays.jpg").symlink_to(root / "in" / "a.jpg")
    (root / "in" / "leaves.jpg").symlink_to(root.parent / "root too" / "c.jpg")
    (root / "in" / "circles.jpg").symlink_to(root / "in" / "circles.jpg")
    listing = FolderIndex(root)
    assert listing.find("in", "stays.jpg").exists
    assert not listing.find("in", "circles.jpg").exists
    file = listing.find("in", "leaves.jpg")
    assert file.outside
    assert not file.exists


def test_a_file_behind_a_linked_folder_that_leaves_is_outside(root):
    (root / "door").symlink_to(root.parent / "root too")
    assert FolderIndex(root).find("door", "c.jpg").outside


def test_a_name_with_bytes_that_are_no_text_is_spelled_out():
    assert printable_name("bad\udcff.jpg") == r"bad\xff.jpg"
    assert printable_name("사진.jpg") == "사진.jpg"
