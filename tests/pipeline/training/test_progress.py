import io

import pytest
from rich.console import Console as RichConsole

from classify.training.trainer import EpochProgress
from pipeline.console import Console
from pipeline.training.progress import NetworkWork, TrainingProgress, training_progress

WORK = {"mask": NetworkWork(2, 100, 10), "age": NetworkWork(1, 100, 30)}


@pytest.fixture
def shown():
    """What was shown: a function that takes a step at a time in seconds, and one that ends an epoch."""

    class Shown:
        now, lines = 0.0, ()

        def __init__(self):
            self.progress = TrainingProgress(WORK, self.show, lambda: self.now)

        def show(self, title, images, total, facts):
            self.lines = (*self.lines, f"{title}, {images} of {total}, {facts()}")

        def step(self, seconds, images, epoch=1, name="mask"):
            self.now = seconds
            self.progress.step(name, EpochProgress(epoch, images, 100, lambda: 0.5))

    return Shown()


def test_a_step_shows_speed_times_left_loss_and_best_score(shown):
    shown.step(5, 0)
    shown.step(10, 50)
    # 10 images/s; left: 50 + 100 images of 10 pixels, and 100 of 30, which take three times as long.
    expected = "mask: epoch 1 of 2, 50 of 100, 10 images/s, 0:05 left of the epoch, 0:45 of the training, loss 0.500"
    assert shown.lines == (expected,)
    shown.now = 15
    said = shown.progress.epoch_ended("mask", [{"epoch": 1, "macro_f1": 0.4}, {"epoch": 1, "macro_f1": 0.6}])
    assert said == "10 images/s, 0:40 left of the training"
    shown.step(20, 0, epoch=2)
    shown.step(25, 50, epoch=2)
    assert shown.lines[-1].endswith("loss 0.500, best 0.500")
    assert "epoch 2 of 2" in shown.lines[-1]
    # 20 s for 150 images: validation counts for the time of the training, not for that of the epoch.
    assert "10 images/s, 0:05 left of the epoch, 0:47 of the training" in shown.lines[-1]


def test_epochs_of_an_earlier_process_are_done_but_say_nothing_of_the_speed(shown):
    assert shown.progress.epoch_ended("mask", [{"epoch": 1, "macro_f1": 0.7}]) == ""
    shown.step(100, 0, epoch=2)
    shown.step(105, 50, epoch=2)
    assert "0:05 left of the epoch, 0:35 of the training" in shown.lines[-1]
    assert "best 0.700" in shown.lines[-1]


def test_the_last_epoch_says_only_how_fast_it_was(shown):
    shown.progress.epoch_ended("mask", [{"epoch": 2}])
    shown.step(0, 0, name="age")
    shown.step(10, 100, name="age")
    assert shown.progress.epoch_ended("age", [{"epoch": 1}]) == "10 images/s"


def run_an_epoch(console):
    with training_progress(console, WORK) as progress:
        for images in range(0, 101, 10):
            progress.step("mask", EpochProgress(1, images, 100, lambda: 0.5))


def test_without_a_terminal_there_is_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr("pipeline.training.progress.SECONDS_BETWEEN_LINES", 0)
    run_an_epoch(Console())
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("mask: epoch 1 of 2, 10 of 100 images, ")
    monkeypatch.setattr("pipeline.training.progress.SECONDS_BETWEEN_LINES", 1000)
    run_an_epoch(Console())
    run_an_epoch(Console(quiet=True))
    assert capsys.readouterr().err == ""


def test_on_a_terminal_a_bar_moves_to_the_end_of_the_epoch():
    output = io.StringIO()
    terminal = RichConsole(file=output, force_terminal=True, width=150)
    run_an_epoch(Console(_err=terminal))
    assert "mask: epoch 1 of 2" in output.getvalue()
    assert "100/100" in output.getvalue()
    assert "loss 0.500" in output.getvalue()
