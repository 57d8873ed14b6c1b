import json
import unicodedata

import polars as pl
import pytest

from cache.errors import DataError, UsageError
from pipeline.intake.label_table import load_table
from pipeline.intake.load import load_data
from pipeline.settings import DataConfig, load_settings

TASKS = load_settings(None, ["tasks.mask=null"]).task_list()  # gender and age
ROWS = [("a.jpg", "p1", "male", "25"), ("b b.PNG", "p1", "male", "25"), ("사진/c.jpg", "p2", "female", "61")]


@pytest.fixture
def table(tmp_path):
    (tmp_path / "사진").mkdir()
    for name, *_ in ROWS:
        (tmp_path / name).touch()

    def write(rows=ROWS, columns=("path", "person", "gender", "age"), name="labels.csv", encoding="utf-8"):
        lines = [",".join(columns), *(",".join(row) for row in rows)]
        (tmp_path / name).write_text("\n".join(lines), encoding=encoding)
        return tmp_path / name

    return write


def load(data, **columns):
    return load_data(data, TASKS, DataConfig(columns=columns))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_table_lists_photos_with_labels_and_people(table, encoding):
    dataset = load(table(encoding=encoding))
    assert dataset.layout == "table"
    assert [photo.name for photo in dataset.train] == [row[0] for row in ROWS]
    assert [photo.person for photo in dataset.train] == ["p1", "p1", "p2"]
    assert dict(dataset.train[2].labels) == {"gender": "female", "age": "61"}
    assert dataset.defects == ()


def test_a_folder_with_one_table_is_that_table_and_with_two_it_must_be_named(table):
    path = table()
    assert load(path.parent).train == load(path).train
    table(name="other.csv")
    with pytest.raises(UsageError, match=r"labels\.csv, other\.csv"):
        load(path.parent)


def test_parquet_is_a_table_too(table):
    path = table().with_suffix(".parquet")
    pl.read_csv(path.with_suffix(".csv")).write_parquet(path)
    assert [photo.labels["age"] for photo in load(path).train] == ["25", "25", "61"]


def test_columns_have_the_names_that_the_config_gives_them(table):
    path = table(columns=("file", "who", "sex", "years"))
    dataset = load(path, path="file", person="who", gender="sex", age="years")
    assert dataset.train[0].labels == {"gender": "male", "age": "25"}


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (("file", "person", "gender", "age"), {}, r"no column 'path'.*data\.columns\.path=NAME"),
        (("path", "person", "gender", "years"), {}, r"no column 'age'; it has path, person, gender, years"),
        (("path", "person", "gender", "age"), {"person": "who"}, "no column 'who'"),
    ],
)
def test_a_missing_column_is_named_with_those_that_there_are_and_the_option(table, columns, options, message):
    with pytest.raises(DataError, match=f"(?s){message}"):
        load(table(columns=columns), **options)


def test_without_a_person_column_the_risk_is_reported(table):
    dataset = load(table(rows=[(r[0], r[2], r[3]) for r in ROWS], columns=("path", "gender", "age")))
    assert len({photo.person for photo in dataset.train}) == 3
    assert [(defect.kind, defect.fatal) for defect in dataset.defects] == [("no person column", False)]


def test_an_empty_cell_leaves_that_task_out_for_that_photo(table):
    dataset = load(table(rows=[*ROWS[:2], ("사진/c.jpg", "p2", "", "61")]))
    assert dict(dataset.train[2].labels) == {"age": "61"}
    assert dataset.defects == ()


@pytest.mark.parametrize(
    ("row", "kind", "message"),
    [
        (("a.jpg", "p", "men", "25"), "unknown label", "none of male, female"),
        (("a.jpg", "p", "male", "old"), "unknown label", "not a number"),
        (("a.jpg", "p", "male", "121"), "unknown label", "between 0 and 120"),
        (("../a.jpg", "p", "male", "25"), "path outside the data folder", "leaves the data folder"),
        (("/etc/passwd", "p", "male", "25"), "path outside the data folder", "leaves"),
        (("C:\\a.jpg", "p", "male", "25"), "path outside the data folder", "leaves"),
        (("file://a.jpg", "p", "male", "25"), "path outside the data folder", "leaves"),
        (("", "p", "male", "25"), "path outside the data folder", "empty"),
    ],
)
def test_a_row_that_cannot_be_used_is_fatal_and_named(table, row, kind, message):
    path = table(rows=[row, *ROWS[1:]])
    [defect] = [defect for defect in load(path).defects if defect.fatal]
    assert defect.kind == kind
    assert defect.where == f"{path}, row 2"
    assert message in defect.message


def test_the_rows_with_unknown_labels_are_named_in_one_line_per_task(table):
    path = table(
        rows=[("a.jpg", "p", "man", "25"), ("b b.PNG", "p", "woman", "25"), ("사진/c.jpg", "p2", "man", "old")]
    )
    gender, age = [defect for defect in load(path).defects if defect.fatal]
    assert gender.where == f"{path}, rows 2, 3, 4"
    assert "'man' x2, 'woman' x1 are none of male, female" in gender.message
    assert age.where == f"{path}, row 4"


def test_a_link_out_of_the_folder_is_refused(table, tmp_path):
    path = table(rows=[("link.jpg", "p", "male", "25"), *ROWS])
    outside = tmp_path.parent / f"{tmp_path.name} outside.jpg"
    outside.touch()
    (tmp_path / "link.jpg").symlink_to(outside)
    [defect] = [defect for defect in load(path).defects if defect.fatal]
    assert "outside the data folder" in defect.message


def test_duplicate_rows_are_fatal_only_when_they_disagree(table):
    same = load(table(rows=[*ROWS, ROWS[0]]))
    assert [(d.kind, d.fatal) for d in same.defects] == [("duplicate row", False)]
    assert len(same.train) == 3
    other = load(table(rows=[*ROWS, ("a.jpg", "p1", "female", "25")]))
    assert [(d.kind, d.fatal) for d in other.defects] == [("duplicate row", True)]


def test_a_photo_that_is_missing_stays_in_and_is_reported(table, tmp_path):
    path = table()
    (tmp_path / "a.jpg").unlink()
    dataset = load(path)
    assert len(dataset.train) == 3
    assert [(d.kind, d.where) for d in dataset.defects] == [("missing file", f"{path}, row 2")]


def test_a_table_without_label_columns_is_to_be_predicted(table):
    dataset = load(table(rows=[(r[0],) for r in ROWS], columns=("path",)))
    assert dataset.train == ()
    assert len(dataset.evaluation) == 3


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe broken", "path,gender,age\n\uac00.jpg".encode("cp949")])
def test_a_table_that_cannot_be_read_is_named(tmp_path, content):
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"labels\.csv"):
        load(tmp_path / "labels.csv")


def test_a_photo_behind_a_linked_folder_that_leaves_is_refused(table, tmp_path, tmp_path_factory):
    (tmp_path / "door").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    dataset = load(table(rows=[("door/a.jpg", "p", "male", "25"), *ROWS]))
    assert [d.kind for d in dataset.defects if d.fatal] == ["path outside the data folder"]
    assert len(dataset.train) == 3


def test_a_person_column_that_has_its_default_name_may_be_missing(table):
    path = table(rows=[(r[0], r[2], r[3]) for r in ROWS], columns=("path", "gender", "age"))
    assert not any(defect.fatal for defect in load(path, path="path", person="person").defects)


def test_a_row_without_a_person_is_reported(table):
    path = table(rows=[("a.jpg", "", "male", "25"), *ROWS[1:]])
    dataset = load(path)
    assert [(d.kind, d.where, d.fatal) for d in dataset.defects] == [("no person", f"{path}, row 2", False)]
    assert dataset.train[0].person == "a.jpg"


def test_blank_lines_are_passed_over_and_rows_keep_their_numbers(table):
    path = table(rows=[("",), *ROWS, ("", "", "", ""), ("d.jpg", "p1", "male", "old"), ("",)])
    [defect] = [defect for defect in load(path).defects if defect.fatal]
    assert defect.where == f"{path}, row 7"


def test_spaces_around_labels_mean_nothing_and_45_is_45_point_0(table):
    path = table(rows=[*ROWS, ("./a.jpg", " p1", "male ", "25.0")])
    assert [(d.kind, d.fatal) for d in load(path).defects] == [("duplicate row", False)]


def test_photos_that_the_table_does_not_name_are_counted(table, tmp_path):
    for name in ("more.jpg", "._a.jpg", "notes.txt"):
        (tmp_path / name).touch()
    assert load(table()).skipped == {"photos that the table does not name": 1}


def test_parquet_rows_are_counted_from_1_and_columns_of_lists_are_left_alone(table, tmp_path):
    table()
    rows = {"path": ["a.jpg"], "person": ["p"], "gender": ["male"], "age": [400], "box": [[1, 2]]}
    pl.DataFrame(rows).write_parquet(tmp_path / "labels.parquet")
    [defect] = load(tmp_path / "labels.parquet").defects
    assert defect.where.endswith("labels.parquet, row 1")


@pytest.mark.parametrize("encoding", ["cp949", "utf-16"])
def test_another_encoding_in_the_column_names_is_reported(table, encoding):
    path = table(columns=("path", "person", "gender", "나이"), encoding=encoding)
    with pytest.raises(DataError, match="UTF-8"):
        load(path)


@pytest.mark.parametrize("second", ["age", " age", "Age", "\u1100\u1161ge"])
def test_two_columns_of_one_name_are_refused_whatever_their_capitals_and_form(table, second):
    first = "\uac00ge" if second.endswith("\u1161ge") else "age"
    with pytest.raises(DataError, match=r"labels\.csv has (two columns called|the columns 'age' and 'Age')"):
        load(table(columns=("path", first, "gender", second)))


def test_columns_without_a_name_are_passed_over(table):
    rows = [(str(number), *row, "", "") for number, row in enumerate(ROWS)]
    dataset = load(table(rows=rows, columns=("", "path", "person", "gender", "age", "", "")))
    assert [photo.name for photo in dataset.train] == [row[0] for row in ROWS]


def test_a_row_with_too_many_cells_is_named(table):
    path = table(rows=[*ROWS[:2], ("c.jpg", "p2", "female", "61", "62")])
    with pytest.raises(DataError, match=r"labels\.csv, row 4 has 5 cells, but there are 4 columns"):
        load(path)


def test_all_columns_that_are_missing_are_named_at_once(table):
    path = table(rows=[(r[0], r[2]) for r in ROWS], columns=("path", "gender"))
    three_tasks = load_settings(None, ["tasks.smile={classes: [a, b]}", "tasks.mask=null"]).task_list()
    with pytest.raises(DataError, match=r"(?s)no columns 'age' and 'smile'.*tasks\.age=null --set tasks\.smile=null"):
        load_data(path, three_tasks, DataConfig())


@pytest.mark.parametrize(
    ("classes", "cells"),
    [
        ('["0", "1"]', ["0.0", "1.0", ""]),
        ('["0", "1"]', ["0", " 1", "nan"]),
        ('["0", "1"]', ["False", "True", "None"]),
        ('["no", "yes"]', ["FALSE", "true", "NULL"]),
    ],
)
def test_labels_as_programs_write_them_name_the_classes_and_the_reading_is_noted(table, classes, cells):
    [smile] = load_settings(
        None, ["tasks={smile: {classes: " + classes + "}, mask: null, gender: null, age: null}"]
    ).task_list()
    path = table(
        rows=[(row[0], row[1], cell) for row, cell in zip(ROWS, cells, strict=True)],
        columns=("path", "person", "smile"),
    )
    dataset = load_data(path, [smile], DataConfig())
    assert dataset.defects == ()
    assert [photo.labels.get("smile") for photo in dataset.train] == [*smile.classes, None]
    [note] = dataset.notes
    assert f"is read as {smile.classes[1]}" in note or "is read as an empty cell" in note


def test_booleans_and_numbers_of_parquet_name_the_classes(table, tmp_path):
    table()
    for values in ([True, False, None], [1.0, 0.0, None], [1, 0, None]):
        pl.DataFrame({"path": [r[0] for r in ROWS], "person": ["a", "b", "c"], "smile": values}).write_parquet(
            tmp_path / "t.parquet"
        )
        [smile] = load_settings(
            None, ["tasks={smile: {classes: ['0', '1']}, mask: null, gender: null, age: null}"]
        ).task_list()
        assert [p.labels.get("smile") for p in load_data(tmp_path / "t.parquet", [smile], DataConfig()).train] == [
            "1",
            "0",
            None,
        ]


def test_one_name_in_two_unicode_forms_is_one_class_one_person_and_one_column(table):
    [task] = load_settings(
        None, ["tasks={이름: {classes: ['민지', '서준']}, mask: null, gender: null, age: null}"]
    ).task_list()
    nfd = [unicodedata.normalize("NFD", text) for text in ("이름", "민지")]
    dataset = load_data(
        table(
            rows=[("a.jpg", "하은", nfd[1]), ("b b.PNG", unicodedata.normalize("NFD", "하은"), "민지")],
            columns=("path", "person", nfd[0]),
        ),
        [task],
        DataConfig(),
    )
    assert [photo.labels["이름"] for photo in dataset.train] == ["민지", "민지"]
    assert len({photo.person for photo in dataset.train}) == 1


def test_pandas_nan_is_no_person(table):
    dataset = load(table(rows=[(r[0], "nan", *r[2:]) for r in ROWS]))
    assert len({photo.person for photo in dataset.train}) == 3
    assert {defect.kind for defect in dataset.defects} == {"no person"}


@pytest.mark.parametrize(
    ("separator", "name"), [(";", "labels.csv"), ("\t", "labels.csv"), ("\t", "labels.tsv"), (",", "labels.tsv")]
)
def test_cells_are_separated_by_commas_semicolons_or_tabs(table, tmp_path, separator, name):
    table()
    lines = [("path", "person", "gender", "age"), *ROWS]
    (tmp_path / name).write_text("\n".join(separator.join(line) for line in lines))
    assert [photo.name for photo in load(tmp_path / name).train] == [row[0] for row in ROWS]


def test_lines_of_json_are_a_table(table, tmp_path):
    table()
    lines = [{"path": row[0], "person": row[1], "gender": row[2], "age": int(row[3])} for row in ROWS]
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert [photo.labels["age"] for photo in load(tmp_path / "labels.jsonl").train] == ["25", "25", "61"]


def test_boxes_of_single_rows_are_read_on_request_and_the_names_stay(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    table = tmp_path / "t.csv"
    table.write_text("path,x1,y1,x2,y2\na.jpg,10,20,50,70\n")
    [photo] = load_table(table, (), DataConfig(boxes="given")).evaluation
    assert photo.name == "a.jpg"
    assert "#xywh=" in photo.path.name
    assert load_table(table, (), DataConfig()).evaluation[0].path.name == "a.jpg"
    table.write_text("path,x1,y1,x2,y2\na.jpg,10,20,50,70\na.jpg,60,20,90,70\n")
    assert len(load_table(table, (), DataConfig()).evaluation) == 2
    [photo] = load_table(table, (), DataConfig(boxes="ignored")).evaluation
    assert photo.path.name == "a.jpg"
    table.write_text("path\na.jpg\n")
    with pytest.raises(DataError, match="no columns x1, y1, x2, y2"):
        load_table(table, (), DataConfig(boxes="given"))
