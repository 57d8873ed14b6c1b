import json
import shutil

import pytest

from pipeline.ledger import record_submission
from pipeline.reports.leaderboard import leaderboard
from pipeline.reports.run_report import write_report
from tests.pipeline.runs import write_run


@pytest.fixture
def runs(tmp_path):
    """Three runs with validation scores 1, 0.75 and 0.5, and a file to submit in each."""
    made = []
    for number in range(3):
        truth = [1, 1, 2, 0]
        run = write_run(tmp_path / f"run{number}", answers=[0] * number + truth[number:], truth=truth)
        (run / "submission.csv").write_text(f"ImageID,ans\n{number}.jpg,1\n")
        made.append(run)
    return made


@pytest.fixture
def ledger(runs, tmp_path):
    for run, public in zip(runs, (0.8, 0.6, 0.7), strict=True):
        record_submission(run, tmp_path / "ledger.jsonl", public=public)
    return tmp_path / "ledger.jsonl"


def test_each_submission_is_a_point_and_the_runs_has_a_ring(runs, ledger):
    shown = leaderboard(ledger, runs[1])
    assert [is_this for _, is_this in shown["rows"]] == [False, True, False]
    assert set(shown["correlations"]) == {"public"}
    assert shown["drawing"].count("<use") >= 3 + 1
    record_submission(runs[0], ledger, private=0.5)
    assert [line.private for line, _ in leaderboard(ledger, runs[1])["rows"]] == [0.5, None, None]


def test_there_is_nothing_to_draw_without_a_score_on_both_sides(runs, tmp_path):
    assert leaderboard(tmp_path / "nothing.jsonl", runs[0]) is None
    record_submission(runs[0], tmp_path / "ledger.jsonl")
    assert leaderboard(tmp_path / "ledger.jsonl", runs[0]) is None


def test_the_report_shows_the_ledger_and_its_damage_with_names_escaped(finished, ledger, tmp_path):
    run = shutil.copytree(finished.run, tmp_path / "run")
    record_submission(run, ledger, public=0.4, note="<script>alert(1)</script>")
    page = write_report(run, finished.cache, ledger).read_text()
    assert "4 (this run)" in page
    assert "&lt;script&gt;alert(1)" in page
    assert "The rank correlation with the public score is" in page
    ledger.write_text(ledger.read_text().replace('"public": 0.8', '"public": 0.9'))
    assert "line 1 was changed after it was written" in write_report(run, finished.cache, ledger).read_text()
    assert json.loads(ledger.read_text().splitlines()[0])["public"] == 0.9
