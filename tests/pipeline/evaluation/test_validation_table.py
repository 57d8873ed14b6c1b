import polars as pl

from classify.tasks import Task
from pipeline.evaluation.ensemble_weights import read_shared
from pipeline.evaluation.subgroups import group_table
from pipeline.evaluation.validation_table import read_validation
from pipeline.reports.held_out import score_sections
from pipeline.reports.pictures import Pictures
from pipeline.reports.predictions_section import prediction_facts

TASKS = [Task("smile", ("0", "1", "other")), Task("glasses", ("true", "false"))]


def write(path, codes):
    """A validation.csv whose cells all look like numbers until the last row."""
    smile, glasses = TASKS
    columns = {
        "path": [f"{row:03}" for row in range(len(codes))], "status": "ok", "found_by": "mtcnn",
        "person": [f"{row // 2:03}" for row in range(len(codes))],
        "source": [f"{row:064}" for row in range(len(codes))], "fold": 0,
        "true_smile": codes, "true_glasses": 0,
        "smile": [smile.classes[code] for code in codes],
        "p_smile_0": 1, "p_smile_1": 0, "p_smile_other": 0,
        "glasses": [glasses.classes[0]] * len(codes), "p_glasses_true": 1, "p_glasses_false": 0,
        "class": [code * 2 for code in codes],
    }  # fmt: skip
    pl.DataFrame(columns).write_csv(path)
    return path


def test_classes_and_names_that_look_like_numbers_are_read_as_they_were_written(tmp_path):
    codes = [0, 1] * 150 + [2]
    path = write(tmp_path / "validation.csv", codes)
    validation = read_validation(path, TASKS)
    assert validation.table["smile"].to_list() == [TASKS[0].classes[code] for code in codes]
    assert validation.table["path"][7] == "007"
    assert validation.people[14] == "007"
    assert validation.table["source"][3] == "3".zfill(64)
    assert all((true == predicted).all() for true, predicted in validation.codes.values())
    assert group_table(validation, TASKS)["accuracy"].to_list() == [1.0, 1.0, 1.0]
    assert [section.score.accuracy for section in score_sections(validation, TASKS)] == [1.0, 1.0, 1.0]


def test_the_report_counts_predictions_of_such_classes(tmp_path):
    write(tmp_path / "predictions.csv", [0, 1, 2, 0])
    facts = prediction_facts(tmp_path, {}, TASKS, Pictures(lambda _: None))
    assert facts.classes == {
        "smile": [("0", 2), ("1", 1), ("other", 1)], "glasses": [("true", 4), ("false", 0)]
    }  # fmt: skip


def test_runs_with_such_classes_can_vote(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "validation.csv", [0, 1] * 150 + [2])
    shared = read_shared([tmp_path / "a", tmp_path / "b"], TASKS)
    assert len(shared.table) == 301
    assert shared.true_codes["smile"][-1] == 2
    assert not shared.warnings
