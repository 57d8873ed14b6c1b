import pytest
import yaml

from cache.errors import UsageError
from pipeline.settings import load_settings


def write(tmp_path, tree):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree))
    return tmp_path / "c.yaml"


def test_a_task_takes_from_the_common_section_what_it_does_not_set(tmp_path):
    file = write(tmp_path, {"train": {"epochs": 7, "lr": 0.01}, "tasks": {"age": {"train": {"epochs": 9}}}})
    settings = load_settings(file)
    assert settings.tasks["age"].train.epochs == 9
    assert settings.tasks["age"].train.lr == 0.01
    assert settings.tasks["mask"].train.epochs == 7


def test_an_option_wins_over_the_file_also_where_the_file_sets_one_task(tmp_path):
    file = write(tmp_path, {"tasks": {"age": {"model": {"pretrained": True, "input": [64, 48]}}}})
    settings = load_settings(file, ["model.pretrained=false", "tasks.age.train.epochs=3", "seed=4"])
    assert not any(task.model.pretrained for task in settings.tasks.values())
    assert settings.tasks["age"].model.input == (64, 48)
    assert settings.tasks["age"].train.epochs == 3
    assert settings.seed == 4


def test_the_resolved_settings_are_a_file_that_gives_the_same_settings(tmp_path):
    settings = load_settings(None, ["tasks.age.edges=[30,58]", "train.loss=f1"])
    (tmp_path / "again.yaml").write_text(settings.as_yaml())
    assert load_settings(tmp_path / "again.yaml") == settings
    changed = load_settings(tmp_path / "again.yaml", ["train.loss=ce"])
    assert {task.train.loss for task in changed.tasks.values()} == {"ce"}


def test_a_task_is_dropped_with_null_and_another_defined(tmp_path):
    file = write(tmp_path, {"tasks": {"mask": None, "smile": {"classes": ["no", "yes"]}}})
    assert list(load_settings(file).tasks) == ["gender", "age", "smile"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.epoch=3", r"train\.epoch: there is no such setting; did you mean epochs\?"),
        ("train.epochs=0", r"train\.epochs: .*greater than or equal to 1 \(it is 0\)"),
        ("train.epochs", "write it as key=value"),
        ("train.loss=hinge", r"train\.loss: .*'ce'"),
        ("detect.thresholds=[0.6,0.7,1.7]", "thresholds must be three numbers between 0 and 1"),
        ("detect.factor=2", r"detect\.factor: .*less than 0\.95"),
        ("tasks.age.edges=[60,30]", "2 rising numbers for 3 classes"),
        ("tasks.mask.drop=[[1,2]]", "no edges"),
        ("tasks.mask.augment.classes.worn={}", "none of wear, incorrect, normal"),
        ("tasks.mask.classes=[yes,no]", "put quotes around them"),
        ("split.held_out=9", "folds 0 to 4"),
        ("model.input=[8,8]", "between 16 and 1024"),
        ("seed=: :", "not a YAML value"),
        ("masks.fabrics={silk: 1}", r"masks\.fabrics\.silk.*'kf94'"),
        ("masks.fabrics={cloth: 0}", r"masks\.fabrics: weights must not be negative, and at least one must be above 0"),
        ("masks.wearings={upside_down: 1}", r"masks\.wearings\.upside_down.*'nose_out'"),
        (
            "tasks={mask: {classes: [a, b], augment: {masks: 0.1}, train: {freeze: true}}}",
            r"tasks\.mask: augment\.masks",
        ),
        ("tasks.mask.classes=[a,a]", "two classes have the same name"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_name_and_what_is_allowed(override, said):
    with pytest.raises(UsageError, match=said):
        load_settings(None, [override])


@pytest.mark.parametrize(
    ("content", "said"), [("a: [", "not readable YAML"), ("- 1", "must hold keys"), (None, "no file")]
)
def test_a_config_that_cannot_be_read_is_named(tmp_path, content, said):
    file = tmp_path / "c.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match=said):
        load_settings(file)


def test_answers_fitted_to_held_out_photos_need_some():
    with pytest.raises(UsageError, match=r"predict\.decide=f1 is fitted to held-out photos"):
        load_settings(None, ["split.held_out=null", "predict.decide=f1"])


def test_an_empty_config_is_the_defaults(tmp_path):
    (tmp_path / "c.yaml").write_text("")
    assert load_settings(tmp_path / "c.yaml") == load_settings()


def tasks_of(*names, classes=("no", "yes")):
    return {"tasks": {"mask": None, "gender": None, "age": None, **{name: {"classes": [*classes]} for name in names}}}


@pytest.mark.parametrize(
    "name",
    ["status", "class", "fold", "joint", "path", "person", "source", "unsure", "found_by", "x1", "score", "trained_on",
     "Status", "ans", "photos", "id", "bundle", "shared", "../../evil", "a/b", "a\\b", "a\0b", ".hidden", "..", "",
     " a", "a ", "CON", "nul.txt", "com1", "run.json", "a\nb", "<30"],
)  # fmt: skip
def test_a_task_whose_name_is_a_column_or_no_folder_is_refused(name, tmp_path):
    with pytest.raises(UsageError, match="a task can't be called"):
        load_settings(write(tmp_path, tasks_of(name)))


@pytest.mark.parametrize("name", ["mask_2", "나이", "age-group", "cönfident", "v1.2", "Alter (Jahre)", "statuses"])
def test_any_other_name_of_a_task_is_fine(name, tmp_path):
    assert list(load_settings(write(tmp_path, tasks_of(name))).tasks) == [name]


def test_two_tasks_with_one_folder_or_one_column_are_refused(tmp_path):
    with pytest.raises(UsageError, match="'Smile' and 'smile' differ only in case"):
        load_settings(write(tmp_path, tasks_of("Smile", "smile")))
    with pytest.raises(UsageError, match=r"p_a_b_no.*rename one of them"):
        tree = tasks_of("a", classes=["b_no", "yes"])
        tree["tasks"]["a_b"] = {"classes": ["no", "yes"]}
        load_settings(write(tmp_path, tree))
    with pytest.raises(UsageError, match=r"'true_a'.*rename one of them"):
        load_settings(write(tmp_path, tasks_of("a", "true_a")))


@pytest.mark.parametrize("classes", [["no", ""], ["no", " yes"], ["no", "y\0s"], ["caf\u00e9", "cafe\u0301"]])
def test_class_names_that_no_label_can_be_or_that_are_one_label_are_refused(classes, tmp_path):
    with pytest.raises(UsageError, match=r"tasks\.smile\.classes|two classes have the same name"):
        load_settings(write(tmp_path, tasks_of("smile", classes=classes)))


def test_class_names_with_slashes_are_fine(tmp_path):
    load_settings(write(tmp_path, tasks_of("smile", classes=["n/a", "<30", "a b"])))
