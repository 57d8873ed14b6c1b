import json
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.run_record import git_state, keep_json, keep_json_lines, recorded_run, versions
from pipeline.settings import load_settings


def record(run, warnings, **changes):
    arguments = {"data": Path("data"), "device": "cpu", "processes": 1, "seconds": {"train": 1.0}}
    return recorded_run(run, load_settings(), warn=warnings.append, **(arguments | changes))


def test_values_that_json_has_no_word_for_are_kept_in_another_form(tmp_path):
    content = {
        "nan": float("nan"), "loss": np.float32(0.5), "count": np.int64(3), "sizes": (1, np.array([2])),
        "name": "bad\udcff.jpg", 7: Path("a"), "nothing": None, "sure": True, "infinite": [float("inf")],
    }  # fmt: skip
    keep_json(tmp_path / "a.json", content, pytest.fail)
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "nan": None, "loss": 0.5, "count": 3, "sizes": [1, [2]], "name": "bad\\udcff.jpg", "7": "a", "nothing": None,
        "sure": True, "infinite": [None],
    }  # fmt: skip
    keep_json_lines(tmp_path / "a.jsonl", [{"loss": float("nan")}, {"loss": 1}], pytest.fail)
    assert (tmp_path / "a.jsonl").read_text() == '{"loss": null}\n{"loss": 1}\n'


def test_a_record_that_cannot_be_written_is_a_warning_and_the_run_goes_on(tmp_path):
    warnings, done = [], []
    (tmp_path / "run.json").mkdir()
    with record(tmp_path, warnings):
        done.append("train")
    assert done == ["train"]
    assert len(warnings) == 2, "one when it starts, one when it ends"
    assert all(f"{tmp_path / 'run.json'} can't be written" in warning for warning in warnings)
    keep_json_lines(tmp_path / "run.json", [], warnings.append)
    assert len(warnings) == 3


def test_a_command_with_bytes_that_are_no_text_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["faceline", "train", "fotos\udce9"])
    with record(tmp_path, []):
        pass
    assert json.loads((tmp_path / "run.json").read_text())["command"] == ["faceline", "train", "fotos\\udce9"]


@pytest.mark.parametrize(("error", "status"), [(RuntimeError, "failed"), (KeyboardInterrupt, "stopped")])
def test_an_error_within_the_run_is_recorded_and_not_replaced_by_one_of_the_record(tmp_path, error, status):
    with pytest.raises(error), record(tmp_path, []):
        raise error
    assert json.loads((tmp_path / "run.json").read_text())["status"] == status


def test_package_metadata_or_git_output_that_cannot_be_read_is_left_out(monkeypatch):
    def fail(*_, **__):
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    monkeypatch.setattr("importlib.metadata.version", fail)
    assert set(versions()) == {"python"}
    monkeypatch.setattr("subprocess.run", fail)
    assert git_state() is None
