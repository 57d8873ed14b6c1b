import json

import pytest

from pipeline.console import Console, cell, clock_time, counted, printable


def test_a_name_cannot_write_escape_codes_or_break_on_bytes_that_are_no_text():
    assert printable("a\x1b[31mred") == "a\\x1b[31mred"
    assert printable("bad\udcff.jpg") == "bad\\udcff.jpg"
    assert printable("얼굴 사진.jpg") == "얼굴 사진.jpg"


@pytest.mark.parametrize(
    ("value", "text"), [(1234567, "1,234,567"), (0.5, "0.500"), (None, ""), (True, "yes"), ("x", "x")]
)
def test_cells_are_readable(value, text):
    assert cell(value) == text


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [(1, ("photo",), "1 photo"), (0, ("photo",), "0 photos"), (2000, ("person", "people"), "2,000 people")],
)
def test_one_thing_is_not_many(number, words, text):
    assert counted(number, *words) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (65.4, "1:05"), (3665, "1:01:05")])
def test_times_are_minutes_and_seconds_or_hours(seconds, text):
    assert clock_time(seconds) == text


def test_a_long_name_in_a_table_is_not_cut_off(capsys):
    Console().table("", ["name", "path"], [["a", "x" * 100]])
    assert capsys.readouterr().out.count("x") == 100


def test_with_json_stdout_holds_nothing_but_one_object(capsys):
    show = Console(as_json=True)
    show.line("a remark")
    show.table("a table", ["name", "n"], [["row", 3]])
    show.done({"answer": 1}, text="done", next_step="faceline x")
    out, err = capsys.readouterr()
    assert json.loads(out) == {"answer": 1}
    assert "a remark" in err
    assert "row" in err


def test_progress_is_lines_now_and_then_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr("pipeline.console.SECONDS_BETWEEN_LINES", 0)
    with Console().progress("Finding faces", 2000) as advance:
        advance(1500)
    assert "Finding faces: 1,500 of 2,000" in capsys.readouterr().err
    with Console(quiet=True).progress("Finding faces", 2000) as advance:
        advance(1500)
    assert capsys.readouterr().err == ""
