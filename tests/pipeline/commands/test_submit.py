import json

import pytest
import typer

from cache.errors import BundleError, UsageError
from tests.pipeline.conftest import faceline
from tests.pipeline.runs import write_run


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Three runs whose validation and public scores have the same order."""
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        truth = [0, 1, 2, 0] if number == 2 else [0, 1, 2, number]
        run = write_run(tmp_path / f"run{number}", answers=[0, 1, 2, 0][: 2 + number], truth=truth[: 2 + number])
        (run / "submission.csv").write_text(f"ImageID,ans\n{number}.jpg,1\n")
    return tmp_path


def test_submissions_are_recorded_listed_and_verified(runs):
    for number, public in enumerate((0.7, 0.6, 0.8)):
        printed = faceline("submit", f"run{number}", "--public", public, "--note", f"try {number}")
        assert f"Line {number + 1} of submissions.jsonl" in printed.stdout
    printed = faceline("submit", "--list", "--verify")
    assert "try 2" in printed.stdout
    assert "All lines are as they were written" in printed.stdout
    listed = json.loads(faceline("submit", "--list", "--json").stdout.splitlines()[-1])
    assert [line["public"] for line in listed["submissions"]] == [0.7, 0.6, 0.8]
    assert listed["rank_correlation"]["private"] is None


def test_a_changed_line_fails_the_verification_and_is_a_warning_in_the_list(runs):
    faceline("submit", "run0", "--public", "0.5")
    book = runs / "submissions.jsonl"
    book.write_text(book.read_text().replace("0.5", "0.9"))
    assert "was changed after it was written" in faceline("submit", "--list").stderr
    result = faceline("submit", "--verify", ok=False)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit | typer.Exit)


def test_an_empty_ledger_names_the_command_that_fills_it(runs):
    printed = faceline("submit", "--list")
    assert "0 lines in submissions.jsonl" in printed.stdout
    assert "Next: faceline submit RUN --public SCORE" in printed.stdout


@pytest.mark.parametrize("words", [[], ["run0", "--list"], ["run0", "--verify"]])
def test_either_a_run_or_the_list_is_wanted(runs, words):
    with pytest.raises(UsageError, match="name the run"):
        faceline("submit", *words)


def test_a_run_that_is_not_there_is_refused(runs):
    with pytest.raises(BundleError, match="no folder nowhere"):
        faceline("submit", "nowhere")
