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
        ("split.leave_out=2", "leave_out above 1 needs held_out: all"),
        ("split={held_out: all, leave_out: 4}", "leave_out is 4, but with 5 folds it can be 3 at most"),
        ("predict.decide=f2", r"predict\.decide: .*'f1_per_task'"),
        ("model.input=[8,8]", "between 16 and 1024"),
        ("seed=: :", "not a YAML value"),
        ("masks.fabrics={silk: 1}", r"masks\.fabrics\.silk.*'kf94'"),
        ("masks.fabrics={cloth: 0}", r"masks\.fabrics: weights must not be negative, and at least one must be above 0"),
        ("masks.wearings={upside_down: 1}", r"masks\.wearings\.upside_down.*'nose_out'"),
        (
            "tasks={mask: {classes: [a, b], augment: {masks: 0.1}, train: {freeze: true, views: 2}}}",
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


def files(tmp_path, *trees):
    for number, tree in enumerate(trees):
        (tmp_path / f"{number}.yaml").write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree))
    return [tmp_path / f"{number}.yaml" for number in range(len(trees))]


def test_several_files_are_laid_over_each_other_in_their_order(tmp_path):
    preset = {"train": {"epochs": 7, "lr": 0.01}, "tasks": {"age": {"train": {"epochs": 9, "lr": 0.02}}}}
    columns = {"data": {"columns": {"person": "customer"}}, "train": {"epochs": 2}, "tasks": {"mask": None}}
    settings = load_settings(files(tmp_path, preset, columns), ["train.lr=0.03"])
    assert settings.data.columns == {"person": "customer"}
    assert list(settings.tasks) == ["gender", "age"]
    assert {(task.train.epochs, task.train.lr) for task in settings.tasks.values()} == {(2, 0.03)}
    settings = load_settings(files(tmp_path, columns, preset))
    assert [(task.train.epochs, task.train.lr) for task in settings.tasks.values()] == [(7, 0.01), (9, 0.02)]


NO_SUCH = "there is no such setting; did you mean"
NO_NUMBER = "Input should be a valid integer, unable to parse string as an integer"
LEAST = "Input should be greater than or equal to"


@pytest.mark.parametrize(
    ("trees", "overrides", "said"),
    [
        ([{"seed": 1}], ["train.epoch=1"], [f"--set train.epoch=1: train.epoch: {NO_SUCH} epochs?"]),
        ([{"train": {"epoch": 1}}, {"seed": 1}], ["seed=2"], [f"0.yaml: train.epoch: {NO_SUCH} epochs?"]),
        ([], ["epochs=3"], [f"--set epochs=3: epochs: {NO_SUCH} train.epochs?"]),
        ([], ["tasks.age.heads.kind=years"], [f"--set tasks.age.heads.kind=years: tasks.age.heads: {NO_SUCH} head?"]),
        ([{"train": {"epochs": 0}}, {"train": {"lr": 1}}], [], [f"0.yaml: train.epochs: {LEAST} 1 (it is 0)"]),
        (
            [{"train": {"epochs": 3}}],
            ["train.epochs=x"],
            [f"--set train.epochs=x: train.epochs: {NO_NUMBER} (it is 'x')"],
        ),
        (
            [{"tasks": {"age": {"train": {"epochs": 0}}}}, {"seed": 1}],
            [],
            [f"0.yaml: tasks.age.train.epochs: {LEAST} 1 (it is 0)"],
        ),
        (
            [{"train": {"soup": 3, "keep": "last"}}],
            ["train.epochs=2", "seed=1"],
            ["0.yaml and --set train.epochs=2: train: soup is 3, but there are only 2 epochs"],
        ),
        ([{"tasks": {"smile": {}}}], [], ["0.yaml: tasks.smile.classes: Field required"]),
        (
            [],
            ["split.held_out=some"],
            [f"--set split.held_out=some: split.held_out: {NO_NUMBER} or 'all' (it is 'some')"],
        ),
        (
            [{"seed": -1}],
            ["train.epochs=0"],
            [f"0.yaml: seed: {LEAST} 0 (it is -1)", f"--set train.epochs=0: train.epochs: {LEAST} 1 (it is 0)"],
        ),
    ],
)
def test_an_error_names_the_file_or_option_that_has_set_the_key_and_comes_once(tmp_path, trees, overrides, said):
    with pytest.raises(UsageError) as error:
        load_settings(files(tmp_path, *trees), overrides)
    assert sorted(str(error.value).replace(f"{tmp_path}/", "").split("\n")) == sorted(said)


def test_a_key_that_stands_twice_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"(?s)0\.yaml is not readable YAML: 'train' stands twice.*line 3"):
        load_settings(files(tmp_path, "train: {epochs: 2}\nseed: 1\ntrain: {lr: 0.1}\n"))
    again = "x: &x {epochs: 2}\ntrain: {<<: *x, epochs: 3}\n"
    with pytest.raises(UsageError, match="x: there is no such setting"):  # but not the second epochs
        load_settings(files(tmp_path, again))


def test_a_licence_is_a_name_of_hugging_faces_list():
    assert load_settings(overrides=["card.license=cc-by-nc-4.0"]).card.license == "cc-by-nc-4.0"
    with pytest.raises(UsageError, match=r"card\.license"):
        load_settings(overrides=["card.license=My own licence"])
