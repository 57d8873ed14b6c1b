import csv
import io
import json
import shutil

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classify.tasks import Task
from pipeline.safe_csv import csv_text, plain_path, read_back, safe_text
from tests.pipeline.conftest import faceline, tiny_options


def cells_of(text):
    return [cell for row in csv.reader(io.StringIO(text)) for cell in row]


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_begins_like_a_formula_and_paths_lead_to_the_same_file(sign):
    table = pl.DataFrame({"path": [f"{sign}a.jpg"], "person": [f"{sign}SUM(A1)"], "n": [-1], "x": [-0.5]})
    path, person, number, decimal = cells_of(csv_text(table))[4:]
    assert path == f"./{sign}a.jpg"
    assert person == f"'{sign}SUM(A1)"
    assert (number, decimal) == ("-1", "-0.5"), "numbers are no formulas"


@pytest.mark.parametrize("text", ["-1", "+3.5", "-.5", "1e-3", "a=b", "it's", "'quoted'", ">=60", ""])
def test_numbers_and_ordinary_text_stay_as_they_are(text):
    assert safe_text(text) == text
    assert cells_of(csv_text(pl.DataFrame({"label": [text]})))[1:] == [text]


@settings(deadline=None)
@given(st.lists(st.text(alphabet="'=+-@1a./ \t", min_size=1, max_size=6), min_size=1))
def test_what_was_written_is_read_back(texts):
    table = pl.DataFrame({"person": texts, "label": texts[::-1]})
    written = csv_text(table, quote_text=True)
    read = pl.read_csv(io.StringIO(written), infer_schema=False)
    assert read_back(read).equals(table)
    assert not any(cell.startswith(("=", "@")) for cell in cells_of(written))


def test_a_path_is_read_back():
    paths = ["=a.jpg", "@eaDir/b.jpg", "-c.jpg", "./d.jpg", "e/=f.jpg"]
    table = pl.DataFrame({"path": paths})
    assert read_back(pl.read_csv(io.StringIO(csv_text(table))))["path"].to_list() == paths
    assert [plain_path(path) for path in ("./=a.jpg", "./d.jpg", "=a.jpg")] == ["=a.jpg", "d.jpg", "=a.jpg"]


def test_a_class_that_looks_like_a_formula_is_known_by_its_safe_form():
    task = Task("sign", ("=yes", "'=no", "-"))
    assert [task.class_index(safe_text(name)) for name in task.classes] == [0, 1, 2]
    assert [task.class_index(name) for name in task.classes] == [0, 1, 2]
    assert Task("sign", ("yes", "no")).class_index("'yes") is None


def test_a_run_on_names_that_look_like_formulas_writes_none_and_reads_its_files_again(finished, tmp_path):
    # A table of photos whose paths, people and classes begin like formulas.
    data, run, rows = tmp_path / "data", tmp_path / "run", []
    data.mkdir()
    for number, photo in enumerate(sorted((finished.data / "train" / "images").rglob("[!.]*.jpg"))[:40]):
        name = f"{'=+-@'[number % 4]}{number}.jpg"
        shutil.copy(photo, data / name)
        rows.append({"path": name, "person": f"=p{number // 4}", "sign": ("=yes", "@no")[number // 2 % 2]})
    pl.DataFrame(rows).write_csv(data / "labels.csv")
    tasks = ["--set", "tasks={mask: null, gender: null, age: null, sign: {classes: ['=yes', '@no']}}"]
    options = ["--cache", finished.cache, "--device", "cpu", *tiny_options(), *tasks]
    faceline("run", data / "labels.csv", "--out", run, *options)
    faceline("labels", "suspects", data / "labels.csv", "--run", run, "--out", tmp_path / "s", "--top", 0, *options[:2])

    written = [*run.glob("*.csv"), tmp_path / "s" / "suspects.csv"]
    assert {"folds.csv", "photos.csv", "validation.csv", "predictions.csv", "groups.csv"} <= {f.name for f in written}
    for file in written:
        cells = cells_of(file.read_text())
        formulas = [cell for cell in cells if cell[:1] in {"=", "+", "-", "@"} and cell != "-1"]
        assert formulas == [], file

    # The same command goes on, other commands find the photos, and the paths lead to files.
    faceline("run", data / "labels.csv", "--out", run, *options)
    predictions = pl.read_csv(run / "predictions.csv", infer_schema=False)
    assert all((data / path).is_file() for path in predictions["path"])
    words = ["evaluate", run / "predictions.csv", "--truth", data / "labels.csv", "--json"]
    scored = json.loads(faceline(*words, *tasks).stdout.splitlines()[-1])
    assert 0 <= scored["sign"]["accuracy"] <= 1
    suspects = pl.read_csv(tmp_path / "s" / "suspects.csv", infer_schema=False)
    suspects = suspects if len(suspects) else pl.DataFrame({"task": "sign", "path": "./=0.jpg", "suggested": "'@no"})
    people = pl.DataFrame({"task": ["sign"], "person": ["'=p0"], "label": ["'@no"]})
    for table in (suspects.head(1), people):
        table.write_csv(tmp_path / "corrections.csv")
        applied = faceline("labels", "apply", tmp_path / "corrections.csv", data / "labels.csv", *tasks)
        assert "labels corrected: sign" in applied.stdout
