import io
import shutil
import sys
import unicodedata
from pathlib import Path

import pytest

from cache.errors import UsageError
from pipeline.intake.load import load_data
from pipeline.intake.photo_inputs import load_inputs
from pipeline.settings import DataConfig


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The current folder, with photos at two levels, a table and a note. Nothing is read but names."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.PNG", "[1].jpg", "in/c.jpg", "in/deep/d.jpg", "in/notes.doc"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")
    return tmp_path


def load(path):
    return load_data(path, (), DataConfig())


def names(*arguments):
    return [photo.name for photo in load_inputs(arguments, load).evaluation]


def test_one_photo_is_one_row(place):
    [photo] = load_inputs(["a.jpg"], load).evaluation
    assert (photo.path, photo.name) == (Path("a.jpg"), "a.jpg")
    assert names("./a.jpg") == ["./a.jpg"]
    assert names(str(place / "a.jpg")) == [str(place / "a.jpg")]


def test_several_arguments_keep_their_order_and_repeats_are_counted(place):
    assert names("b.PNG", "in", "a.jpg") == ["b.PNG", "in/c.jpg", "in/deep/d.jpg", "a.jpg"]
    dataset = load_inputs(["in/c.jpg", "in/", str(place / "in/c.jpg")], load)
    assert [photo.name for photo in dataset.evaluation] == ["in/c.jpg", "in/deep/d.jpg"]
    assert dataset.skipped["photos that are named more than once"] == 2


def test_a_quoted_pattern_is_expanded_and_what_is_no_photo_is_counted(place):
    assert names("*.jpg") == ["[1].jpg", "a.jpg"]
    assert names("**/*.jpg") == ["[1].jpg", "a.jpg", "in/c.jpg", "in/deep/d.jpg"]
    dataset = load_inputs(["in/*"], load)
    assert [photo.name for photo in dataset.evaluation] == ["in/c.jpg", "in/deep/d.jpg"]
    assert dataset.skipped == {"files that are no photos (.doc)": 1}


def test_a_name_with_a_patterns_signs_is_itself(place):
    assert names("[1].jpg") == ["[1].jpg"]


def test_a_list_is_read_beside_itself_then_from_here(place):
    Path("in/list.txt").write_text("\ufeffc.jpg\n\n a.jpg\ndeep/d.jpg\n", encoding="utf-8")
    Path(" a.jpg").write_bytes(b"")
    assert names("in/list.txt") == ["c.jpg", " a.jpg", "deep/d.jpg"]
    assert load_inputs(["in/list.txt"], load).evaluation[0].path == Path("in/c.jpg")


@pytest.mark.parametrize("ending", ["\n", "\0", "\r\n"])
def test_paths_come_on_stdin(place, monkeypatch, ending):
    content = f"a.jpg{ending}in{ending}".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert names("-") == ["a.jpg", "in/c.jpg", "in/deep/d.jpg"]


def test_names_are_found_in_another_unicode_form_and_with_backslashes(place):
    Path(unicodedata.normalize("NFD", "é.jpg")).write_bytes(b"")
    Path("list.txt").write_text(unicodedata.normalize("NFC", "é.jpg") + "\nin\\c.jpg\n", encoding="utf-8")
    assert len(names("list.txt")) == 2


def test_the_home_folder_has_its_short_name(place, monkeypatch):
    monkeypatch.setenv("HOME", str(place))
    assert load_inputs(["~/a.jpg"], load).evaluation[0].path == place / "a.jpg"


def test_tables_among_others_put_their_folder_before_the_names(place):
    Path("in/t.csv").write_text("path\nc.jpg\n")
    assert names("a.jpg", "in/t.csv") == ["a.jpg", "in/c.jpg"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.jpg", "x.jpg", "y.jpg"], "there is no photo, folder or table x.jpg\nthere is no photo.* y.jpg"),
        (["x*.jpg"], r"no file matches x\*\.jpg"),
        (["list.txt"], "list.txt, line 2: there is no file z.jpg"),
        (["empty.txt"], "empty.txt names no photo"),
        (["in/*.doc"], r"names no photo \(files that are no photos \(.doc\): 1\)"),
        ([f"{n}.jpg" for n in range(7)], "4.jpg\n... and 2 more"),
    ],
)
def test_what_is_missing_is_named(place, arguments, said):
    Path("list.txt").write_text("a.jpg\nz.jpg\n")
    Path("empty.txt").write_text("\n\n")
    with pytest.raises(UsageError, match=said):
        load_inputs(arguments, load)


def test_a_data_set_to_submit_is_the_only_argument(drawn, place):
    assert load_inputs([str(drawn)], load).submission_ids
    with pytest.raises(UsageError, match="only argument"):
        load_inputs([str(drawn), "a.jpg"], load)


def test_a_broken_link_is_a_photo_that_cannot_be_read(place):
    Path("gone.jpg").symlink_to("nowhere")
    assert names("gone.jpg") == ["gone.jpg"]
    shutil.rmtree("in")
