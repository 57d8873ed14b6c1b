import json
import re
import shutil
from collections import Counter

import cv2
import numpy as np
import pytest

from cache.errors import BundleError
from classify.tasks import Task
from pipeline.reports.data_section import shown_in_an_epoch
from pipeline.reports.held_out import RIGHT_SHOWN
from pipeline.reports.plots import reliability
from pipeline.reports.run_report import draw_curves, write_report
from pipeline.training.curves import LINE_COLOURS
from tests.pipeline.conftest import faceline
from tests.pipeline.runs import write_run


def test_the_report_is_one_page_with_scores_curves_and_pictures(finished):
    page = (finished.run / "report.html").read_text()
    assert page.count("<svg") == 3 + 3 + 1  # curves and a reliability diagram per task; the histogram of ages
    assert "data:image/jpeg;base64," in page
    for word in ("macro-F1", "Worst mistakes", "normal female &gt;=60", "Predictions", "test_resnet"):
        assert word in page


def test_the_report_loads_nothing_from_outside(finished):
    page = (finished.run / "report.html").read_text()
    assert not re.search(r"""(?:src|action)\s*=\s*["']?\s*(?:https?:)?//""", page)
    assert not re.search(r"""<link|<script|@import|url\((?!data:|#)""", page)
    assert "default-src 'none'" in page


def test_names_with_markup_are_shown_and_not_run(finished, tmp_path):
    run = shutil.copytree(finished.run, tmp_path / "<script>alert(1)<")
    page = write_report(run, finished.cache).read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_every_voting_network_has_a_curve_also_one_whose_fold_has_no_label():
    line = {"task": "mask", "train_loss": 0.5}
    score = {"macro_f1": 0.7, "loss": 0.6}
    folds = {"mask-fold0": score, "mask-fold1": {}, "mask-fold2": score}
    lines = [{**line, **more, "network": name, "epoch": epoch} for name, more in folds.items() for epoch in (1, 2)]
    [drawing] = draw_curves(lines, [Task("mask", ("a", "b"))])
    assert "learning curves of mask" in drawing
    strokes = Counter(re.findall(r'<path d="M [^"]+"[^>]*stroke: (#[0-9a-f]{6}); stroke-width: 1.5', drawing))
    assert [strokes[colour] for colour in LINE_COLOURS] == [3 + 1, 2 + 1, 2 + 1], "and one in the legend"


def test_without_the_crops_the_report_says_so(finished, tmp_path):
    run = shutil.copytree(finished.run, tmp_path / "run")
    page = write_report(run, tmp_path / "another cache").read_text()
    assert "No picture: the crop is not in the cache." in page or "There were no mistakes" in page
    assert "crops are not in the cache: name the one that the run used with --cache" in page


def test_a_folder_without_a_finished_run_is_refused(tmp_path):
    with pytest.raises(BundleError, match="no finished run"):
        write_report(tmp_path, tmp_path)


def test_each_number_of_a_confusion_matrix_opens_the_photos_behind_it(finished):
    page = (finished.run / "report.html").read_text()
    links = re.findall(r'<a href="#(task\d+-\d+-\d+)" aria-label="(\d+) photos', page)
    galleries = dict(re.findall(r'<div class="gallery" id="([^"]+)".*?<ul class="sheet">(.*?)</ul>', page, re.DOTALL))
    assert links
    assert galleries.keys() == {anchor for anchor, _ in links}
    for anchor, photos in links:
        assert galleries[anchor].count("<li>") == min(int(photos), RIGHT_SHOWN) or int(photos) > RIGHT_SHOWN
    shown = set(re.findall(r'class="t (p\d+)"', page))
    assert shown
    assert shown == set(re.findall(r"^\.(p\d+)\{background-image", page, re.MULTILINE)), "each picture is there once"


def test_the_page_says_in_words_how_good_the_run_is_and_which_settings_differ(finished):
    page = (finished.run / "report.html").read_text()
    assert re.search(r"Joint macro-F1 0\.\d\d \(0\.\d\d to 0\.\d\d\) on \d+ people held out; weakest group: ", page)
    differing = page[page.index("Those that differ from the defaults") : page.index("All settings")]
    assert "<code>model.backbone</code>" in differing
    assert "tasks.mask.model.backbone" not in differing, "a task's key that repeats a common one is not listed"
    assert "crop.quality" not in differing


def test_the_page_says_how_often_an_epoch_shows_each_class(finished):
    page = (finished.run / "report.html").read_text()
    shown = page[page.index("What an epoch shows") : page.index('id="detection"')]
    lines = [json.loads(line) for line in (finished.run / "class_counts.jsonl").read_text().splitlines()]
    assert {line["network"] for line in lines} == {"mask", "gender", "age"}
    assert sum(line["photos"] for line in lines) == 3 * sum(line["photos"] for line in lines if line["task"] == "mask")
    for line in lines:
        name = f"{line['task']} {line['name']}".replace("<", "&lt;").replace(">", "&gt;")
        figures = "".join(f"<td>{line[figure]}</td>" for figure in ("photos", "held_out", "shown"))
        assert f'<th scope="row">{name}</th>{figures}' in shown


def test_networks_with_the_same_counts_share_a_table():
    line = {"task": "mask", "name": "wear", "photos": 3, "shown": 3, "held_out": 1}
    [(networks, counts)] = shown_in_an_epoch([{"network": "a", **line}, {"network": "b", **line}])
    assert networks == "a, b"
    assert len(counts) == 1
    assert len(shown_in_an_epoch([{"network": "a", **line}, {"network": "b", **line, "shown": 6}])) == 2


def test_counts_that_no_training_wrote_are_named(tmp_path):
    run = write_run(tmp_path / "run", answers=[0, 1, 2])
    (run / "class_counts.jsonl").write_text('{"network": "mask", "task": "mask", "name": "wear", "photos": "many"}\n')
    assert "class_counts.jsonl is damaged" in write_report(run, tmp_path / "cache").read_text()


def test_classes_with_dollars_and_markup_are_drawn_as_they_are(tmp_path):
    drawing = reliability([(0.5, 0.5, 3)], "$\\frac$ <b>&")
    assert "$\\frac$ &lt;b&gt;&amp;" in drawing
    assert "<b>" not in drawing
    assert "var(--ink)" in drawing
    assert "#0a0b0c" not in drawing


def test_the_sheet_of_misses_shows_the_wall(tmp_path):
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "wall.png"), np.full((512, 384, 3), 150, np.uint8))
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"x")
    faceline("detect", tmp_path / "photos", "--sheet", tmp_path / "sheet.png")
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape[2] == 3
    red = (sheet[..., 2] > 150) & (sheet[..., 1] < 90) & (sheet[..., 0] < 90)
    assert red.sum() > 100, "the fallback window is drawn in red"


def test_an_unfinished_run_has_a_report_that_says_so_and_shows_what_is_there(tmp_path):
    run = write_run(tmp_path / "run", status="stopped")
    page = write_report(run, tmp_path / "cache").read_text()
    assert "was stopped after epoch 1 of mask" in page
    assert "there is nobody to score" in page
    assert page.count("<svg") == 1, "the curve of its only task"
    printed = faceline("report", run)
    assert "is an unfinished run" in printed.stderr


@pytest.mark.parametrize(
    "file",
    [
        "validation.csv", "calibration.json", "run.json", "data.json", "class_counts.jsonl", "metrics.jsonl",
        "bundle/bundle.json",
    ],
)  # fmt: skip
def test_a_damaged_run_has_a_report_that_names_the_damaged_file(tmp_path, file):
    run = write_run(tmp_path / "run", answers=[0, 1, 2, 0, 1, 2])
    (run / file).write_text('{"status": ')
    page = write_report(run, tmp_path / "cache").read_text()
    assert re.search(rf"{file.split('/')[-1]} (can&#39;t be read|is damaged)", page)
    assert ("macro-F1</th>" in page) == (file != "validation.csv")


def test_a_run_whose_settings_are_damaged_has_no_report_but_an_error_that_says_so(tmp_path):
    run = write_run(tmp_path / "run", answers=[0, 1, 2])
    (run / "config.yaml").write_text("tasks: [")
    with pytest.raises(BundleError, match="Without its settings, there is no report"):
        write_report(run, tmp_path)
