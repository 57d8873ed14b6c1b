import pytest

from cache.errors import UsageError
from pipeline.experiments.run_list import list_runs
from tests.pipeline.runs import write_run


@pytest.fixture
def runs(tmp_path):
    write_run(tmp_path / "good", answers=[0, 1, 2, 0], start="2026-01-02", data="/photos/street")
    write_run(tmp_path / "poor", answers=[0, 1, 2, 0], truth=[0, 0, 0, 0], settings=["model.backbone=resnet10t"])
    write_run(tmp_path / "killed", status="started", start="2026-01-03")
    return tmp_path


def names(listed):
    return [run.name for run in listed.runs]


def test_runs_are_listed_by_their_start_with_data_backbone_scores_time_and_status(runs):
    listed = list_runs(runs)
    assert names(listed) == ["poor", "good", "killed"]
    columns, rows = listed.table()
    assert columns == ["run", "status", "data", "backbone", "joint", "mask", "training"]
    assert rows[1] == ["good", "finished", "street", rows[1][3], 1.0, 1.0, "0:02"]
    assert rows[0][2:5] == ["dddddddd", "resnet10t", 0.5], "a run of an older version names its data by fingerprint"
    assert rows[2][:2] == ["killed", "unfinished"]


def test_a_damaged_run_is_listed_with_its_problem(runs):
    (runs / "good" / "config.yaml").write_text("tasks: [")
    (runs / "good" / "data.json").write_text("{")
    [run] = list_runs(runs, where="status = 'damaged'").runs
    assert run.name == "good"
    assert run.backbones == ()
    assert "data.json can't be read" in run.as_json()["problems"][0]


@pytest.mark.parametrize(
    ("where", "sort", "expected"),
    [
        ("joint > 0.5", "", ["good"]),
        ("backbone LIKE 'resnet%' OR status = 'unfinished'", "", ["poor", "killed"]),
        ("", "-joint", ["good", "poor", "killed"]),
        ("", "joint", ["poor", "good", "killed"]),
        ("people = 9", "", []),
    ],
)
def test_runs_are_filtered_and_sorted_by_any_column(runs, where, sort, expected):
    listed = list_runs(runs, where=where, sort=sort)
    assert names(listed) == expected
    assert listed.found == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [({"where": "colour = 3"}, "--where 'colour = 3'.*run, status"), ({"where": "joint >"}, "--where"),
     ({"where": "joint"}, "--where"), ({"sort": "colour"}, "--sort colour: there is no such column among run, status")],
)  # fmt: skip
def test_a_wrong_condition_or_column_is_refused_with_the_columns(runs, options, message):
    with pytest.raises(UsageError, match=message):
        list_runs(runs, **options)


def test_a_task_called_like_a_column_has_its_score_under_another_name(runs):
    bundle = runs / "good" / "bundle" / "bundle.json"
    bundle.write_text(bundle.read_text().replace('"metrics": {"joint"', '"metrics": {"status"'))
    columns, rows = list_runs(runs, where="run = 'good'").table()
    assert rows[0][columns.index("status")] == "finished"
    assert rows[0][columns.index("status score")] == 1


def test_a_folder_without_runs_has_an_empty_list(tmp_path):
    assert list_runs(tmp_path, where="joint > 1").as_json() == {"folder": str(tmp_path), "found": 0, "runs": []}


def test_an_ensemble_is_listed_with_the_backbones_of_all_kinds(tmp_path):
    kinds = ["ensemble.face.model={backbone: resnet10t}", "ensemble.again.model={backbone: resnet10t, input: [64, 48]}"]
    settings = ["model.backbone=test_resnet", *kinds, "ensemble.own.model={dropout: 0.1}"]
    write_run(tmp_path / "vote", answers=[0, 1, 2, 0], settings=settings)
    [run] = list_runs(tmp_path).runs
    assert run.backbones == ("resnet10t", "test_resnet")
