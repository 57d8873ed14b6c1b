"""Corrections are laid over labels in memory, and say what is wrong with them by file and row."""

import hashlib
from pathlib import Path

import polars as pl
import pytest

from cache.errors import DataError, UsageError
from classify.tasks import encode_labels
from pipeline.intake.corrections import apply_corrections, load_labelled
from pipeline.intake.load import load_data
from pipeline.intake.photo import Dataset, Photo
from pipeline.settings import DataConfig, load_settings

SETTINGS = load_settings()
LISTS = Path(__file__).parents[3] / "pipeline" / "intake" / "correction_lists"


def person(folder, **labels):
    _, gender, _, age = folder.split("_")
    stems = {"mask1": "wear", "incorrect_mask": "incorrect", "normal": "normal"}
    photos = []
    for stem, mask in stems.items():
        given = {"mask": mask, "gender": gender, "age": age, **labels}
        photos.append(Photo(Path(f"{folder}/{stem}.jpg"), f"train/images/{folder}/{stem}.jpg", folder, given))
    return photos


def data_of(*folders):
    return Dataset(Path("data"), "competition", tuple(photo for folder in folders for photo in person(folder)))


@pytest.fixture
def data():
    return data_of("000020_female_Asian_50", "000021_male_Asian_20", "001498-1_male_Asian_23", "001498_male_Asian_60")


@pytest.fixture
def table(tmp_path):
    def write(text):
        path = tmp_path / "corrections.csv"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def labels_of(dataset, folder, task):
    return [photo.labels.get(task) for photo in dataset.train if photo.person == folder]


def with_levels(*levels):
    return load_settings(overrides=[f"data.correction_levels=[{','.join(levels)}]"])


def test_a_person_a_photo_and_an_id_can_be_named(data, table):
    file = table(
        "task,path,person,id,photo,label\n"
        "gender,,000021_male_Asian_20,,,female\n"
        "mask,train/images/000020_female_Asian_50/mask1.jpg,,,,normal\n"
        "mask,,,000020,normal,incorrect\n"
        "age,,,001498,,31\n"
    )
    corrected, changes = apply_corrections(data, file, SETTINGS)
    assert labels_of(corrected, "000021_male_Asian_20", "gender") == ["female"] * 3
    assert labels_of(corrected, "000020_female_Asian_50", "mask") == ["normal", "incorrect", "incorrect"]
    assert labels_of(corrected, "001498_male_Asian_60", "age") == ["31"] * 3
    assert labels_of(corrected, "001498-1_male_Asian_23", "age") == ["23"] * 3
    assert corrected.corrections[0].changed == {"gender": 3, "mask": 2, "age": 3}
    assert len(changes) == 8
    assert labels_of(data, "000021_male_Asian_20", "gender") == ["male"] * 3, "the data set given is as it was"


def test_applying_twice_and_in_any_order_is_applying_once(data, table):
    head = "task,id,photo,label\n"
    rows = ["mask,000020,normal,incorrect\n", "mask,000020,incorrect_mask,normal\n", "age,000021,,>=60\n"]
    once, _ = apply_corrections(data, table(head + "".join(rows)), SETTINGS)
    again, changes = apply_corrections(once, table(head + "".join(rows * 2)), SETTINGS)
    backwards, _ = apply_corrections(data, table(head + "".join(reversed(rows))), SETTINGS)
    assert again.train == once.train == backwards.train
    assert not changes
    assert again.corrections[1].already == 5


def test_an_empty_label_leaves_the_photos_out_of_that_task_only(data, table):
    corrected, _ = apply_corrections(data, table("task,person,label\nage,000021_male_Asian_20,\n"), SETTINGS)
    assert labels_of(corrected, "000021_male_Asian_20", "age") == [None] * 3
    assert labels_of(corrected, "000021_male_Asian_20", "gender") == ["male"] * 3


@pytest.mark.parametrize(
    ("given", "label", "number"),
    [("45", "<30", 29), ("20", "30-59", 30), ("45", "30-59", "45"), ("45", ">=60", 60), ("45", "60", "60")],
)
def test_a_class_stands_for_its_number_nearest_to_the_given_one(given, label, number, table):
    data = data_of(f"1_male_Asian_{given}")
    corrected, _ = apply_corrections(data, table(f"task,id,label\nage,1,{label}\n"), SETTINGS)
    assert corrected.train[0].labels["age"] == number
    age = SETTINGS.task_list()[2]
    assert encode_labels([age], corrected.train[0].labels) == (age.encode(float(number)),)


def test_a_list_of_suspects_is_a_table_of_corrections(data, table):
    file = table(
        "task,rank,path,person,given,suggested,score,crop\n"
        "gender,1,train/images/000021_male_Asian_20/mask1.jpg,000021_male_Asian_20,male,female,0.1,\n"
    )
    corrected, _ = apply_corrections(data, file, SETTINGS)
    assert labels_of(corrected, "000021_male_Asian_20", "gender") == ["female", "male", "male"]


def test_only_the_selected_levels_count(data, table):
    file = table("task,id,label,level\ngender,000020,male,contested\ngender,000021,female,\n")
    assert apply_corrections(data, file, SETTINGS)[0].corrections[0].changed == {"gender": 3}
    assert apply_corrections(data, file, with_levels("core", "contested"))[0].corrections[0].changed == {"gender": 6}


def test_rows_about_a_dropped_task_are_passed_over(data, table):
    settings = load_settings(overrides=["tasks.mask=null"])
    file = table("task,id,photo,label\nmask,000020,normal,incorrect\n")
    assert apply_corrections(data, file, settings)[0].corrections[0].rows == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "task,id,label\ngender,000021,man\n",
            "corrections.csv, row 2: gender is 'man', which is none of male, female",
        ),
        ("task,id,label\nage,000021,young\n", "row 2: age is 'young', which is not a number, and none of <30"),
        ("task,id,label\nage,000021,300\n", "row 2: age is 300, which is not between"),
        ("task,id,label\nsmile,000021,yes\n", "row 2: the task is 'smile', which is none of mask"),
        ("task,id,label,level\nage,000021,30,sure\n", "row 2: the level is 'sure', which is none of core"),
        ("task,id,label\nage,99,30\n", "row 2: there is no labelled photo with id '99'"),
        ("task,id,label\nage,,30\n", "row 2: none of path, person, id says"),
        ("task,path,label\nage,nowhere.jpg,30\n", "row 2: there is no labelled photo with path 'nowhere.jpg'"),
        ("task,id,photo,label\nmask,000021,mask9,normal\n", "row 2: 000021_male_Asian_20 has no photo 'mask9'"),
        ("task,label\nage,30\n", "it has the columns task, label"),
        ("task,id,age\nage,000021,30\n", "It needs task, label (or suggested)"),
        ("task,id,label\nage,000021,30\nage,000021,31\n", "row 3 contradicts "),
        ("task,id,person,label\nage,000021,,30\nage,,000021_male_Asian_20,\n", "is '' here and '30' there"),
    ],
)
def test_what_is_wrong_is_reported_with_file_and_row(text, message, data, table):
    with pytest.raises(DataError) as error:
        apply_corrections(data, table(text), SETTINGS)
    assert message in str(error.value)


def test_two_people_with_one_id_must_be_distinguished(table):
    data = data_of("003397_female_Asian_19", "003397_female_Asian_20")
    with pytest.raises(DataError, match="the id 003397 is that of 003397_female_Asian_19 and"):
        apply_corrections(data, table("task,id,label\ngender,003397,male\n"), SETTINGS)


def test_a_table_that_is_not_there_is_reported(data):
    with pytest.raises(UsageError, match=r"no file nowhere\.csv; .* boostcamp"):
        apply_corrections(data, "nowhere.csv", SETTINGS)


def test_the_competitions_known_mistakes_are_mended_by_exact_id(data):
    corrected, _ = apply_corrections(data, "boostcamp", SETTINGS)
    assert labels_of(corrected, "000020_female_Asian_50", "mask") == ["wear", "normal", "incorrect"]
    assert labels_of(corrected, "001498-1_male_Asian_23", "gender") == ["female"] * 3
    assert labels_of(corrected, "001498_male_Asian_60", "gender") == ["male"] * 3
    assert corrected.corrections[0].changed == {"mask": 2, "gender": 3}
    assert corrected.corrections[0].absent > 10


def test_the_competitions_list_says_nothing_twice_and_contradicts_nothing():
    rows = pl.read_csv(LISTS / "boostcamp.csv", infer_schema=False)
    assert not rows.select("task", "id", "photo").is_duplicated().any()
    assert set(rows["level"]) == {"core", "extended", "contested"}
    core = rows.filter(pl.col("level") == "core")
    assert core.group_by("task").len().sort("task").rows() == [("gender", 9), ("mask", 6)]
    # Each row fits a task: on people who have these ids, none is passed over.
    ids = sorted(set(rows["id"]))
    data = data_of(*(f"{person_id}_male_Asian_45" for person_id in ids))
    settings = with_levels("core", "extended", "contested")
    done = apply_corrections(data, "boostcamp", settings)[0].corrections[0]
    assert (done.rows, done.absent) == (len(rows), 0)


def hashes(folder):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_settings_apply_corrections_on_load_and_the_users_files_stay_as_they_are(drawn, table):
    before = hashes(drawn)
    photo = load_data(drawn, SETTINGS.task_list(), DataConfig()).train[0]
    other = "male" if photo.labels["gender"] == "female" else "female"
    file = table(f"task,person,label\ngender,{photo.person},{other}\n")
    settings = load_settings(overrides=[f"data.corrections=[{file}]"])
    dataset = load_labelled(drawn, settings)
    assert labels_of(dataset, photo.person, "gender") == [other] * 7
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    assert (dataset.corrections[0].file, dataset.corrections[0].sha256) == (file, digest)
    assert hashes(drawn) == before


def test_a_later_table_counts_over_an_earlier_one(drawn, tmp_path):
    photo = load_data(drawn, SETTINGS.task_list(), DataConfig()).train[0]
    files = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for file, age in zip(files, (33, 66), strict=True):
        file.write_text(f"task,person,label\nage,{photo.person},{age}\n")
    settings = load_settings(overrides=[f"data.corrections=[{files[0]}, {files[1]}]"])
    assert load_labelled(drawn, settings).train[0].labels["age"] == "66"
