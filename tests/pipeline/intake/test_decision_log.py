"""Decisions are added to a file that corrections take as it is; none that was confirmed is lost."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from cache.errors import DataError
from pipeline.intake.corrections import apply_corrections
from pipeline.intake.decision_log import DecisionLog, read_rows
from pipeline.intake.load import load_data
from pipeline.settings import load_settings
from tests.pipeline.intake.test_corrections import data_of, labels_of

SETTINGS = load_settings()
PERSON = "000021_male_Asian_20"
PHOTO = f"train/images/{PERSON}/normal.jpg"


@pytest.fixture
def log(tmp_path):
    return DecisionLog(tmp_path / "run" / "corrections.jsonl")


def change(label, task="gender", path=PHOTO, given="male"):
    return {"task": task, "path": path, "label": label, "given": given}


def corrected(log):
    dataset, changes = apply_corrections(data_of(PERSON), str(log.path), SETTINGS)
    return dataset, {(found.photo, found.task): found.after for found in changes}


def test_the_last_decision_about_a_label_stands_and_keep_and_unsure_change_nothing(log):
    log.append("fix", [change("female"), change(">=60", "age", given="20")])
    log.append("drop", [change("", "mask", given="normal")])
    assert corrected(log)[1] == {(PHOTO, "mask"): None, (PHOTO, "gender"): "female", (PHOTO, "age"): 60}
    log.append("unsure", [change("male")])
    log.append("keep", [change("20", "age", given="20")])
    dataset, changes = corrected(log)
    assert changes == {(PHOTO, "mask"): None}
    assert labels_of(dataset, PERSON, "gender") == ["male"] * 3


def test_an_undone_decision_uncovers_the_one_before(log):
    log.append("fix", [change("female")])
    entry = log.append("keep", [change("male")])
    assert corrected(log)[1] == {}
    log.append("undo", [change("male")], undoes=entry)
    assert corrected(log)[1] == {(PHOTO, "gender"): "female"}


def test_a_line_that_was_cut_off_is_passed_over_with_a_note_and_swallows_no_other(log):
    log.append("fix", [change("female")])
    whole = log.path.read_bytes()
    for cut in range(1, len(whole) - 1, 25):
        log.path.write_bytes(whole + whole[:cut])
        dataset, changes = corrected(log)
        assert changes == {(PHOTO, "gender"): "female"}
        assert dataset.notes == (f"{log.path}, row 2 is incomplete and was passed over",)
    again = DecisionLog(log.path)
    again.append("drop", [change("", "mask", given="normal")])
    assert corrected(again)[1].keys() == {(PHOTO, "gender"), (PHOTO, "mask")}
    assert [line["decision"] for line in again.lines()] == ["fix", "drop"]
    log.path.write_bytes(whole[:30])
    assert read_rows(log.path).rows == []


def test_two_logs_of_a_file_see_what_the_other_adds_and_lose_nothing(log):
    other = DecisionLog(log.path)
    logs = [log, other] * 2
    threads = [
        threading.Thread(target=lambda number, log: [log.append("keep", [change(f"{number} {i}")]) for i in range(25)],
                         args=(number, log))
        for number, log in enumerate(logs)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(line["label"] for line in log.lines()) == sorted(f"{n} {i}" for n in range(4) for i in range(25))
    assert other.lines(after=90) == log.lines()[90:]


def test_what_was_confirmed_outlives_a_kill(tmp_path):
    code = (
        "import sys; from pathlib import Path; from pipeline.intake.decision_log import DecisionLog\n"
        "log = DecisionLog(Path(sys.argv[1]))\n"
        "while True:\n"
        "    print(log.append('keep', [{'task': 'mask', 'path': 'a.jpg', 'label': '', 'given': ''}] * 3), flush=True)\n"
    )
    path = tmp_path / "corrections.jsonl"
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True) as writer:
        confirmed = [writer.stdout.readline().strip() for _ in range(20)]
        os.kill(writer.pid, signal.SIGKILL)
        confirmed += writer.stdout.read().split("\n")[:-1]
    entries = [line["entry"] for line in DecisionLog(path).lines()]
    assert all(entries.count(entry) == 3 for entry in confirmed)


def test_a_full_disk_leaves_the_file_as_it_was(log, monkeypatch):
    log.append("fix", [change("female")])
    before = log.path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.intake.decision_log.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        log.append("drop", [change("", "mask")])
    assert log.path.read_bytes() == before


def test_names_of_any_kind_come_back(tmp_path):
    name = 'a"><b>\n\u2028,é=\t.jpg'
    log = DecisionLog(tmp_path / "c.jsonl")
    log.append("fix", [change("female", path=name)])
    assert log.lines()[0]["path"] == name
    assert read_rows(log.path).rows[0][1]["path"] == name


def test_what_is_no_decision_is_named_with_its_line(log):
    log.append("fix", [change("")])
    with pytest.raises(DataError, match=r"corrections\.jsonl, row 1: the decision is a fix without a label"):
        read_rows(log.path)
    line = json.loads(log.path.read_text())
    log.path.write_text(json.dumps(line | {"decision": "maybe", "label": "female"}) + "\n")
    with pytest.raises(DataError, match="the decision is 'maybe', which is none of keep, fix, drop"):
        corrected(log)


def test_tables_that_were_written_by_hand_mean_what_they_meant(tmp_path):
    path = tmp_path / "hand.jsonl"
    path.write_text(json.dumps({"task": "gender", "person": PERSON, "label": "female", "decision": "by Ann"}) + "\n")
    _, changes = apply_corrections(data_of(PERSON), str(path), SETTINGS)
    assert len(changes) == 3
    with pytest.raises(DataError, match="holds no decisions of a review to add to"):
        DecisionLog(path)


def test_a_csv_with_the_same_columns_is_read_the_same_way(tmp_path, log):
    path = tmp_path / "log.csv"
    path.write_text(f"decision,task,path,label,entry\nfix,gender,{PHOTO},female,1\nkeep,gender,{PHOTO},male,2\n")
    _, changes = apply_corrections(data_of(PERSON), str(path), SETTINGS)
    assert changes == []


def test_settings_take_the_file(drawn, log):
    photo = load_data(drawn, SETTINGS.task_list(), SETTINGS.data).train[0]
    log.append("drop", [change("", "mask", photo.name)])
    from pipeline.intake.corrections import load_labelled

    settings = load_settings(overrides=[f"data.corrections=[{log.path}]"])
    assert "mask" not in load_labelled(drawn, settings).train[0].labels
