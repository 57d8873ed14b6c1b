import re

import pytest

from cache.errors import UsageError
from pipeline.experiments.comparison_page import write_comparison
from tests.pipeline.conftest import faceline
from tests.pipeline.runs import write_run


@pytest.fixture
def runs(tmp_path):
    truth = [0, 1, 2, 1, 0, 2]
    first = write_run(tmp_path / "a<b>", answers=[0, 0, 2, 1, 1, 2], truth=truth)
    second = write_run(tmp_path / "second", answers=truth, settings=["train.epochs=3"])
    third = write_run(tmp_path / "third", status="stopped", settings=["model.dropout=0.3"])
    return [first, second, third]


def test_runs_are_side_by_side_with_settings_that_differ_and_paired_differences(runs):
    path = write_comparison(runs)
    page = path.read_text()
    assert path.parent == runs[0]
    assert "<b>" not in page
    settings = page[page.index("Settings that differ") : page.index("Learning curves</h2>")]
    [values] = re.findall(r"<code>train.epochs</code></th>(.*?)</tr>", settings)
    assert len(set(re.findall(r"<code>(\d+)</code>", values))) == 2
    assert "model.dropout" in settings
    assert "train.lr" not in settings
    assert "6 photos of 6 people" in page
    assert re.search(r"mask</th><td>0\.667</td><td>1\.000</td><td>\+0\.333", page)
    assert "is an unfinished run" in page
    assert page.count("<svg") == 3
    assert len(re.findall(r'id="(m[0-9a-f]+)"', page)) == len(set(re.findall(r'id="(m[0-9a-f]+)"', page)))


def test_the_command_takes_several_runs(runs, tmp_path):
    faceline("report", *runs[:2], "--cache", tmp_path / "cache")
    assert (runs[0] / "comparison.html").is_file()
    assert not (runs[0] / "report.html").exists()
    with pytest.raises(UsageError, match="the same run is named twice"):
        faceline("report", runs[0], runs[0], "--cache", tmp_path / "cache")
