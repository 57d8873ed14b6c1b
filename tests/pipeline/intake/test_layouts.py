"""The layouts in which people have their photos and labels: each is read, or a sentence says what it is."""

import json
import os
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from cache.errors import DataError, UsageError
from cache.sources import split_part
from pipeline.intake.load import load_data
from pipeline.settings import load_settings

GENDER = "tasks={gender: {classes: [male, female]}, mask: null, age: null}"
SEXES = ("male", "female")


@pytest.fixture
def data(tmp_path):
    """A function that makes empty files and tables below the data folder, and one that loads it."""

    def touch(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()

    def write(name, rows, separator=",", header="path,person,gender"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        lines = [header.split(","), *rows]
        (tmp_path / name).write_text("\n".join(separator.join(line) for line in lines), encoding="utf-8")
        return tmp_path / name

    def load(path=tmp_path, *overrides, tasks=GENDER):
        settings = load_settings(None, [tasks, *overrides])
        return load_data(path, settings.task_list(), settings.data)

    return SimpleNamespace(root=tmp_path, touch=touch, write=write, load=load)


def rows_of(paths):
    return [(path, f"p{index % 3}", SEXES[index % 2]) for index, path in enumerate(paths)]


def fatal(dataset):
    return [defect.kind for defect in dataset.defects if defect.fatal]


PHOTOS = [f"img/f{number:02}.jpg" for number in range(6)]


# Paths of a table that are written otherwise than the files' own


@pytest.mark.parametrize(
    ("written", "note"),
    [
        (lambda path: path.replace("/", "\\"), "backslashes"),
        (lambda path: path.removesuffix(".jpg"), "no ending"),
        (lambda path: path.replace(".jpg", ".JPG"), "other capitals"),
        (lambda path: path.upper(), "other capitals"),
        (lambda path: path.replace("/", "\\").upper(), "other capitals"),
        (lambda path: Path(path).name, "bare names"),
        (lambda path: Path(path).stem.upper(), "bare names"),
        (lambda path: f"./{path}", None),
        (lambda path: f" {path} ", "blanks"),
        (lambda path: f"{path} ", None),
    ],
)
def test_a_path_that_leads_to_a_single_photo_is_read_and_the_reading_is_noted(data, written, note):
    data.touch(*PHOTOS)
    path = data.write("labels.csv", rows_of(map(written, PHOTOS)))
    dataset = data.load(path)
    assert [photo.path for photo in dataset.train] == [data.root / name for name in PHOTOS]
    assert dataset.defects == ()
    if note:
        assert any(text.startswith("6 paths") and note in text for text in dataset.notes), dataset.notes
    else:
        assert dataset.notes == ()


def test_paths_that_start_with_the_name_of_the_folder_itself_are_read(data):
    data.touch("set/img/a.jpg", "set/img/b.jpg")
    path = data.write("set/labels.csv", rows_of(["set/img/a.jpg", "set/img/b.jpg"]))
    assert [photo.path.name for photo in data.load(path).train] == ["a.jpg", "b.jpg"]


def test_absolute_paths_below_the_table_are_read_and_named_relative_to_it(data):
    data.touch(*PHOTOS)
    dataset = data.load(data.write("labels.csv", rows_of(str(data.root / name) for name in PHOTOS)))
    assert [photo.name for photo in dataset.train] == PHOTOS
    assert dataset.defects == ()


def test_a_name_that_two_files_have_is_not_guessed(data):
    data.touch("alice/1.jpg", "bob/1.jpg", "c/2.jpg", "c/2.png", "x.jpg")
    dataset = data.load(data.write("labels.csv", rows_of(["1.jpg", "c/2", "x.jpg", "alice/1.jpg", "bob/1.jpg"])))
    missing = [defect.message for defect in dataset.defects if defect.kind == "missing file"]
    assert "it could be alice/1.jpg or bob/1.jpg" in missing[0]
    assert "it could be c/2.jpg or c/2.png" in missing[1]


def test_a_photo_of_another_folder_is_never_taken_for_one_of_the_same_name(data):
    data.touch("bob/1.jpg", "1.jpg")
    dataset = data.load(data.write("labels.csv", rows_of(["alice/1.jpg"])))
    assert not dataset.train[0].path.exists()


def test_when_half_of_the_paths_match_the_others_are_shown_with_the_nearest_names(data):
    data.touch(*PHOTOS)
    others = [name.replace("f0", "photo-0") for name in PHOTOS[:2]] + ["img/f05.jpeg", "img/nothing at all.jpg"]
    dataset = data.load(data.write("labels.csv", rows_of([*PHOTOS[:4], *others])))
    assert fatal(dataset) == []
    [note] = dataset.notes
    assert note.startswith(f"4 of 8 paths lead to a photo in {data.root}; not found: 'img/photo-00.jpg'")
    assert "'img/f05.jpeg' (the nearest name is img/f0" in note
    assert note.endswith("and others")


def test_when_most_paths_match_nothing_the_table_is_refused_with_the_setting(data):
    data.touch(*PHOTOS)
    dataset = data.load(data.write("labels.csv", rows_of([PHOTOS[0], *(f"photos/{n}.jpg" for n in "abcd")])))
    assert fatal(dataset) == ["paths without a file"]
    with pytest.raises(DataError, match=r"(?s)1 of 5 paths lead to a photo.*data\.images=FOLDER"):
        dataset.require_usable()


# Photos that are elsewhere


def test_the_photos_can_be_in_another_folder_than_the_table(data, tmp_path_factory):
    data.touch(*PHOTOS)
    other = tmp_path_factory.mktemp("disk")
    (other / "z.jpg").touch()
    names = [Path(name).name for name in PHOTOS]
    assert [p.name for p in data.load(data.write("a.csv", rows_of(names)), "data.images=img").train] == names
    table = data.write("b.csv", rows_of(["z.jpg"]))
    assert data.load(table, f"data.images={other}").train[0].path == other / "z.jpg"
    table = data.write("c.csv", rows_of([str(other / "z.jpg")]))
    assert data.load(table, f"data.images={other}").train[0].name == "z.jpg"
    [defect] = [defect for defect in data.load(table).defects if defect.fatal]
    assert "leaves the data folder" in defect.message and "--set data.images=FOLDER" in defect.message


def test_a_folder_beside_the_table_s_is_reached_by_steps_up_where_the_user_says_so(data):
    data.touch("img/a.jpg")
    table = data.write("tables/labels.csv", rows_of(["../img/a.jpg"]))
    assert data.load(table, "data.images=..").train[0].path.resolve() == data.root / "img" / "a.jpg"
    assert fatal(data.load(table)) == ["path outside the data folder"]


def test_an_image_folder_that_is_not_there_is_refused(data):
    with pytest.raises(UsageError, match=r"data\.images: there is no folder .*nowhere"):
        data.load(data.write("labels.csv", rows_of(["a.jpg"])), "data.images=nowhere")


def test_an_image_folder_for_what_is_no_table_is_noted(data):
    data.touch("a.jpg")
    assert any("data.images has no effect" in note for note in data.load(data.root, "data.images=img").notes)


@pytest.mark.parametrize("as_table", [True, False])
def test_links_into_a_blob_store_are_opened_with_one_setting_that_the_refusal_names(data, tmp_path_factory, as_table):
    store = tmp_path_factory.mktemp("store")
    for number in range(3):
        (store / f"{number:064x}").touch()
        (data.root / f"{number}.jpg").symlink_to(store / f"{number:064x}")
    path = data.write("labels.csv", rows_of([f"{n}.jpg" for n in range(3)])) if as_table else data.root
    with pytest.raises(DataError, match=r"--set data\.follow_links=true"):
        data.load(path).require_usable()
    dataset = data.load(path, "data.follow_links=true").require_usable()
    assert len(dataset.train or dataset.evaluation) == 3


def test_links_to_folders_are_counted_or_followed_once_out_of_the_folder_but_not_in_a_circle(data, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    (store / "b.jpg").touch()
    (store / "back").symlink_to(store)
    data.touch("a.jpg", "in/c.jpg")
    (data.root / "out").symlink_to(store)
    (data.root / "again").symlink_to(data.root / "in")
    assert data.load().skipped == {"links to folders": 2}
    dataset = data.load(data.root, "data.follow_links=true")
    assert [photo.name for photo in dataset.evaluation] == ["a.jpg", "in/c.jpg", "out/b.jpg"]
    assert dataset.skipped == {"links to folders": 1, "links to folders that lead in a circle": 1}


# Kinds of tables


@pytest.mark.parametrize(("name", "separator"), [("l.tsv", "\t"), ("l.csv", "\t"), ("l.csv", ";"), ("l.tsv", ",")])
def test_the_separator_is_found(data, name, separator):
    data.touch(*PHOTOS)
    assert len(data.load(data.write(name, rows_of(PHOTOS), separator)).train) == 6


XLSX = {
    "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default '
    'Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override '
    'PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet'
    '.main+xml"/>'
    "</Types>",
    "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship '
    'Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
    'Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="http://schemas.'
    'openxmlformats.org/officeDocument/2006/relationships"><sheets><sheet name="a" sheetId="1" r:id="r1"/></sheets>'
    "</workbook>",
    "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" '
    'Target="sheet.xml"/></Relationships>',
}


def write_workbook(path, rows):
    def cell(value):
        if isinstance(value, (int, float)):
            return f"<c><v>{value}</v></c>"
        return f'<c t="inlineStr"><is><t>{value}</t></is></c>'

    lines = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
    namespace = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    sheet = f'<worksheet xmlns="{namespace}"><sheetData>{lines}</sheetData></worksheet>'
    with zipfile.ZipFile(path, "w") as book:
        for name, content in {**XLSX, "xl/sheet.xml": sheet}.items():
            book.writestr(name, content)
    return path


AGES = ("path", "person", "gender", "age")


def test_a_workbook_is_read_with_the_extra_and_its_numbers_are_labels(data):
    pytest.importorskip("fastexcel")
    data.touch("a.jpg", "b.jpg")
    path = write_workbook(data.root / "t.xlsx", [AGES, ("a.jpg", "p", "male", 25), ("b.jpg", "q", "female", 31.5)])
    dataset = data.load(path, tasks="tasks.mask=null")
    assert [photo.labels for photo in dataset.train] == [
        {"gender": "male", "age": "25"},
        {"gender": "female", "age": "31.5"},
    ]
    path = write_workbook(data.root / "t.xlsx", [("path", "age", "Age")])
    with pytest.raises(DataError, match="'age' and 'Age'"):
        data.load(path)


def test_a_workbook_without_the_extra_names_it(data, monkeypatch):
    path = write_workbook(data.root / "t.xlsx", [AGES])
    monkeypatch.setitem(sys.modules, "fastexcel", None)
    with pytest.raises(UsageError, match=r"faceline\[xlsx\]"):
        data.load(path)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_an_imagefolder_with_metadata_is_read_at_the_top_and_in_parts(data, name):
    rows = [("a.jpg", "male"), ("b.jpg", "female")]
    content = "file_name,gender\n" + "\n".join(",".join(row) for row in rows)
    if name.endswith("jsonl"):
        content = "\n".join(json.dumps({"file_name": file, "gender": gender}) for file, gender in rows)
    data.touch("one/a.jpg", "one/b.jpg", "many/train/a.jpg", "many/train/b.jpg", "many/test/a.jpg", "many/test/b.jpg")
    for folder in ("one", "many/train", "many/test"):
        (data.root / folder / name).write_text(content)
    assert [photo.labels["gender"] for photo in data.load(data.root / "one").train] == ["male", "female"]
    dataset = data.load(data.root / "many")
    assert [photo.name for photo in dataset.train] == ["train/a.jpg", "train/b.jpg"]
    assert [photo.name for photo in dataset.evaluation] == ["test/a.jpg", "test/b.jpg"]


def test_a_table_beside_a_folder_of_images_is_a_table_and_no_competition(data):
    data.touch(*(f"images/{number}.jpg" for number in range(4)))
    data.write("train.csv", [(f"images/{number}.jpg", SEXES[number % 2]) for number in range(4)], header="path,gender")
    assert len(data.load().train) == 4


FACES = "path,person,gender,x1,y1,x2,y2"
BOX = ("10", "60", "90", "180")


def test_rows_for_several_faces_of_a_photo_are_a_photo_each(data):
    data.touch("img/a.jpg", "b.jpg")
    rows = [
        ("img\\a.jpg", "p", "male", *BOX), ("img/a.jpg", "q", "female", "90", "60", "170.5", "180"),
        ("b.jpg", "", "male", *BOX),
    ]  # fmt: skip
    dataset = data.load(data.write("l.csv", rows, header=FACES))
    assert [photo.name for photo in dataset.train] == [
        "img/a.jpg#10,60,90,180", "img/a.jpg#90,60,170.5,180", "b.jpg#10,60,90,180"
    ]  # fmt: skip
    assert [photo.labels["gender"] for photo in dataset.train] == ["male", "female", "male"]
    assert [photo.person for photo in dataset.train] == ["p", "q", "b.jpg#10,60,90,180"]
    files, parts = zip(*(split_part(photo.path) for photo in dataset.train), strict=True)
    assert files == (data.root / "img/a.jpg", data.root / "img/a.jpg", data.root / "b.jpg")
    x, y, width, height = parts[0]
    assert (x + width / 2, y + height / 2) == pytest.approx((50, 120), abs=1)
    assert (height, width) == (408, 306)
    assert [defect.kind for defect in dataset.defects] == ["no person"]


def test_boxes_of_single_faces_are_not_read_with_a_note(data):
    data.touch("a.jpg", "b.jpg")
    dataset = data.load(data.write("l.csv", [("a.jpg", "p", "male", *BOX), ("b.jpg", "r", "male", *BOX)], header=FACES))
    assert [photo.name for photo in dataset.train] == ["a.jpg", "b.jpg"]
    assert "boxes in x1, y1, x2, y2 are not read" in dataset.notes[0]


@pytest.mark.parametrize("box", [("", "60", "90", "180"), ("a", "60", "90", "180"), ("90", "60", "90", "180")])
def test_a_row_for_a_face_without_a_box_is_fatal(data, box):
    data.touch("a.jpg")
    rows = [("a.jpg", "p", "male", *BOX), ("a.jpg", "q", "male", *box)]
    dataset = data.load(data.write("l.csv", rows, header=FACES))
    assert [(d.kind, d.where[-5:]) for d in dataset.defects if d.fatal] == [("no box", "row 3")]


# A split that is given


def test_a_split_column_is_obeyed_and_test_rows_are_not_trained_on(data):
    data.touch(*PHOTOS)
    words = ["train", "Train", "val", "valid", "test", "TEST"]
    rows = [(path, f"p{index}", "male", words[index]) for index, path in enumerate(PHOTOS)]
    dataset = data.load(data.write("l.csv", rows, header="path,person,gender,split"))
    assert [(photo.name, photo.held_out) for photo in dataset.train] == list(
        zip(PHOTOS[:4], [False, False, True, True], strict=True)
    )
    assert [photo.name for photo in dataset.evaluation] == PHOTOS[4:]
    assert any("'split' is obeyed (2 train, 2 val, 2 test photos)" in note for note in dataset.notes)


def test_without_a_validation_part_the_folds_are_dealt(data):
    data.touch(*PHOTOS)
    rows = [(path, "p", "male", "test" if index > 3 else "train") for index, path in enumerate(PHOTOS)]
    dataset = data.load(data.write("l.csv", rows, header="path,person,gender,split"))
    assert {photo.held_out for photo in dataset.train} == {None}
    [defect] = dataset.defects
    assert defect.kind == "person on both sides" and "train and test (p)" in defect.message


def test_another_name_for_the_split_is_noticed_and_a_wrong_word_is_fatal(data):
    data.touch(*PHOTOS)
    rows = [(path, f"p{index}", "male", ["train", "test"][index % 2]) for index, path in enumerate(PHOTOS)]
    table = data.write("l.csv", rows, header="path,person,gender,subset")
    assert any("data.columns.split=subset" in note for note in data.load(table).notes)
    assert len(data.load(table, "data.columns.split=subset").evaluation) == 3
    rows[0] = (*rows[0][:3], "tain")
    table = data.write("l.csv", rows, header="path,person,gender,split")
    assert fatal(data.load(table)) == ["unknown split"]


def test_a_column_split_about_something_else_is_left_alone_with_a_note(data):
    data.touch(*PHOTOS)
    rows = [(path, "p", "male", "A") for path in PHOTOS]
    dataset = data.load(data.write("l.csv", rows, header="path,person,gender,split"))
    assert len(dataset.train) == 6
    assert "it is no split" in dataset.notes[0]


def test_to_predict_all_rows_count_whatever_their_part(data):
    data.touch(*PHOTOS)
    rows = [(path, "test" if index > 3 else "train") for index, path in enumerate(PHOTOS)]
    settings = load_settings()
    assert len(load_data(data.write("l.csv", rows, header="path,split"), (), settings.data).evaluation) == 6


# A folder for each class


def class_folders(data, *parts):
    data.touch(*(f"{part}{sex}/{number}.jpg" for part in parts for sex in SEXES for number in range(3)))


@pytest.mark.parametrize("folder", ["", "deep/er/"])
def test_a_folder_per_class_is_labelled_by_its_folders(data, folder):
    class_folders(data, folder)
    dataset = data.load()
    assert dataset.layout == "classes"
    assert {(p.path.parent.name, p.labels["gender"]) for p in dataset.train} == {(sex, sex) for sex in SEXES}
    assert len({photo.person for photo in dataset.train}) == 6
    assert [defect.kind for defect in dataset.defects] == ["no person column"]
    assert any("female, male are classes of gender" in note for note in dataset.notes)


def test_folders_train_val_and_test_are_obeyed(data):
    class_folders(data, "train/", "val/", "test/")
    data.touch("test/unlabelled.jpg", "beside.jpg", "docs/x.jpg")
    dataset = data.load()
    assert {(photo.name.split("/")[0], photo.held_out) for photo in dataset.train} == {("train", False), ("val", True)}
    assert len(dataset.evaluation) == 7
    assert dataset.skipped == {"photos in no part of the split": 1, "folders that are no part of the split (docs)": 1}


def test_a_folder_within_a_class_is_a_person(data):
    data.touch("male/al/1.jpg", "male/al/2.jpg", "male/bo/1.jpg", "female/cy/1.jpg")
    dataset = data.load()
    assert sorted({photo.person for photo in dataset.train}) == ["al", "bo", "cy"]
    assert dataset.defects == ()


def test_folders_that_are_no_classes_say_how_the_task_would_be_defined(data):
    data.touch("train/cat/1.jpg", "train/dog/1.jpg", "val/cat/2.jpg")
    dataset = data.load()
    assert dataset.layout == "folder"
    assert """--set 'tasks.NAME={classes: ["cat", "dog"]}'""" in dataset.notes[0]
    data.touch("train/bird/1.jpg")
    pets = 'tasks={pet: {classes: ["cat", "dog"]}, mask: null, gender: null, age: null}'
    dataset = data.load(tasks=pets)
    assert [d.where for d in dataset.defects if d.fatal] == [str(data.root / "train" / "bird")]


def test_folders_in_other_capitals_name_the_task_s_setting(data):
    data.touch("Male/1.jpg", "Female/1.jpg")
    assert """--set 'tasks.gender.classes=["Female", "Male"]'""" in data.load().notes[0]


def test_numbered_people_are_no_class_indices_and_two_tasks_with_one_class_are_named(data):
    data.touch("0/1.jpg", "1/1.jpg")
    assert data.load().layout == "folder"
    two = 'tasks={a: {classes: ["0", "1"]}, b: {classes: ["0", "1"]}, mask: null, gender: null, age: null}'
    with pytest.raises(UsageError, match=r"classes of a and b.*tasks\.b=null"):
        data.load(tasks=two)


# Folders around the data set


def test_a_folder_around_the_competition_s_layout_leads_to_it(data):
    data.touch("input/data/train/images/000000_female_Asian_30/normal.jpg", "input/data/README.txt")
    dataset = data.load()
    assert dataset.layout == "competition"
    assert dataset.train[0].name == "train/images/000000_female_Asian_30/normal.jpg"
    assert "holds only the folder input/data" in dataset.notes[0].replace(os.sep, "/")


def test_a_folder_around_a_table_leads_to_it_and_of_two_folders_the_table_is_named(data):
    data.touch(*(f"set/{name}" for name in PHOTOS))
    table = data.write("set/labels.csv", rows_of(PHOTOS))
    assert len(data.load().train) == 6
    data.touch("more/x.jpg")
    assert any(f"{table} is a table" in note for note in data.load().notes)


def test_a_folder_with_a_folder_per_person_is_no_hint(data):
    data.touch(*(f"person {number}/1.jpg" for number in range(60)))
    dataset = data.load()
    assert len({photo.person for photo in dataset.evaluation}) == 60
    assert dataset.notes == ()


# What is passed over, and faceline's own files


def test_everything_that_is_no_photo_is_counted_by_its_reason(data):
    data.touch("a.jpg", "notes.txt", "README", "._a.jpg", ".hidden.jpg", "Thumbs.db", ".git/b.jpg")
    (data.root / "broken.jpg").symlink_to(data.root / "nothing.jpg")
    os.mkfifo(data.root / "pipe.jpg")
    assert data.load().skipped == {
        "files that are no photos (.txt)": 1,
        "files that are no photos (no ending)": 1,
        "macOS shadow files (._*)": 1,
        "hidden and system files": 3,
        "links that lead nowhere": 1,
        "files that are no photos (special)": 1,
    }


OWN = {
    "crop cache": ["CACHE.json"],
    "run": ["run.json", "config.yaml"],
    "bundle": ["bundle.json"],
    "ensemble": ["votes.json"],
    "comparison": ["compare.json", "compare.md"],
    "list of doubtful labels": ["suspects.csv", "suspects.html"],
    "predictions": ["predictions.csv", "predictions.json"],
    "export of crops": ["spec.json", "crops.jsonl"],
}


@pytest.mark.parametrize("what", OWN)
def test_faceline_s_own_folders_are_never_data(data, what):
    data.touch("a.jpg", "person/b.jpg", "own/deep/c.jpg", *(f"own/{name}" for name in OWN[what]))
    dataset = data.load()
    assert [photo.name for photo in dataset.evaluation] == ["a.jpg", "person/b.jpg"]
    assert dataset.skipped == {f"faceline's own folders (own: {what})": 1}


def test_faceline_s_own_tables_are_never_the_table_of_a_folder_but_a_user_s_of_that_name_is(data):
    data.touch(*PHOTOS)
    data.write("predictions.csv", [("a.jpg", "ok", "mtcnn")], header="path,status,found_by")
    data.write("submission.csv", [("a.jpg", "1")], header="ImageID,ans")
    dataset = data.load()
    assert dataset.layout == "folder" and len(dataset.evaluation) == 6
    assert dataset.skipped == {"faceline's own files (predictions.csv)": 1, "faceline's own files (submission.csv)": 1}
    data.write("validation.csv", rows_of(PHOTOS))
    assert len(data.load().train) == 6


def test_a_cache_in_the_data_folder_itself_leaves_the_photos_alone(data):
    data.touch("CACHE.json", "a.jpg", "crops/0123/spec.json", "crops/0123/units/ab/u/x.jpg", "quarantine/y.jpg")
    dataset = data.load()
    assert [photo.name for photo in dataset.evaluation] == ["a.jpg"]


@pytest.mark.parametrize("names", [["CACHE.json", "crops/x.jpg"], ["run.json", "config.yaml"], ["bundle.json"]])
def test_a_cache_run_or_bundle_is_no_data_set(data, names):
    data.touch(*names)
    with pytest.raises(UsageError, match="of faceline's and holds no data set"):
        data.load()
