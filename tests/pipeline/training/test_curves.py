import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.intake.own_files import is_own_picture
from pipeline.training.curves import LINE_COLOURS, draw_task, read_curves, write_curves

LINES = [
    {"task": "mask", "epoch": epoch, "train_loss": 1 / epoch, "loss": 1.2 / epoch, "macro_f1": 0.3 * epoch}
    for epoch in (1, 2)
] + [{"task": "age", "epoch": 1, "train_loss": 2.0, "network": "age-fold0"}]


def pixels_of(picture, colour):
    rgb = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    return int((np.abs(picture.astype(int) - rgb).max(axis=2) < 10).sum())


def test_the_curves_have_a_drawing_per_task_and_grow_with_every_epoch(tmp_path):
    counts = []
    for epochs in (1, 2):
        lines = [line for line in LINES if line["epoch"] <= epochs]
        write_curves(tmp_path, lines, ["mask", "age"], pytest.fail)
        picture = read_curves(tmp_path)
        assert picture.shape == (260, 840, 3)
        counts.append([pixels_of(picture[:, :420], colour) for colour in LINE_COLOURS])
    assert all(after > before > 0 for before, after in zip(*counts, strict=True))
    assert pixels_of(picture[:, 420:], LINE_COLOURS[2]) == 0, "nobody was held out for age"
    assert is_own_picture(tmp_path / "curves.png"), "no photo of a data set"


def test_a_task_whose_training_has_not_begun_has_an_empty_drawing(tmp_path):
    write_curves(tmp_path, LINES[:1], ["mask", "gender"], pytest.fail)
    assert read_curves(tmp_path).shape == (260, 840, 3)


def test_curves_that_cannot_be_drawn_are_a_warning(tmp_path):
    warnings = []
    (tmp_path / "curves.png").mkdir()
    write_curves(tmp_path, LINES, ["mask"], warnings.append)
    write_curves(tmp_path / "other", [{"task": "mask"}], ["mask"], warnings.append)
    assert len(warnings) == 2
    assert all("curves.png can't be drawn" in warning for warning in warnings)


@pytest.mark.parametrize("last", [1, 2, 9])
def test_epochs_are_whole_numbers_also_where_there_is_one(last):
    figure = Figure()
    draw_task(figure, [{"task": "mask", "epoch": epoch, "train_loss": 1.0} for epoch in range(1, last + 1)], "mask")
    FigureCanvasAgg(figure).draw()
    [axis] = figure.axes
    low, high = axis.get_xlim()
    shown = [place for place in axis.get_xticks() if low <= place <= high]
    assert shown
    assert all(place == round(place) for place in shown)
