"""How far a training is: a bar on a terminal, elsewhere a line now and then.

In: the steps and epochs of a run's networks as they end. Out: images a second, the time left of the epoch and of the
training, the loss so far and the best score.
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from classify.training.trainer import EpochMetrics, EpochProgress
from pipeline.console import SECONDS_BETWEEN_LINES, Console, clock_time

COLUMNS = ("{task.description}", BarColumn(bar_width=20), MofNCompleteColumn(), "{task.fields[facts]}")
REFRESH_PER_S = 4


@dataclass(frozen=True, slots=True)
class NetworkWork:
    """What there is to do for one network.

    Attributes:
        epochs: of the complete training.
        images: in an epoch, about.
        pixels: of an image: networks with larger inputs take longer.
    """

    epochs: int
    images: int
    pixels: int


class TrainingProgress:
    """The progress of a run's networks, which are trained one after another.

    Args:
        work: by the networks' names.
        show: gets the text and the numbers of images, done and in the epoch, after each step.
        clock: seconds, from any point.
    """

    def __init__(
        self,
        work: Mapping[str, NetworkWork],
        show: Callable[[str, int, int, Callable[[], str]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work, self._show, self._clock = work, show, clock
        self._left = {name: float(each.epochs * each.images * each.pixels) for name, each in work.items()}
        self._best: dict[str, float] = {}
        self._trained: set[str] = set()  # networks that this process has trained on
        self._started = self._epoch_started = 0.0  # the first step of this process, and of the epoch
        self._done = 0.0  # pixels of all images that this process has trained on
        self._rate = 0.0  # images a second in the last epoch

    def step(self, name: str, progress: EpochProgress) -> None:
        """Show a step of a network; the first one of an epoch is called before it is computed."""
        now = self._clock()
        self._started = self._started or now
        self._trained.add(name)
        if not progress.images:
            self._epoch_started = now
            return
        seconds = max(now - self._epoch_started, 1e-9)
        self._rate = progress.images / seconds
        each = self._work[name]
        in_epoch = progress.images * each.pixels

        def facts() -> str:
            epoch_left = (progress.total - progress.images) / self._rate
            parts = [f"{self._rate:,.0f} images/s", f"{clock_time(epoch_left)} left of the epoch"]
            parts += [f"{clock_time(self._run_left(now, in_epoch))} of the training", f"loss {progress.loss():.3f}"]
            if name in self._best:
                parts.append(f"best {self._best[name]:.3f}")
            return ", ".join(parts)

        self._show(f"{name}: epoch {progress.epoch} of {each.epochs}", progress.images, progress.total, facts)

    def epoch_ended(self, name: str, history: Sequence[EpochMetrics]) -> str:
        """Count the epochs in a network's history; returns what to say besides its scores, "" if it was read from disk.

        Epochs that an earlier process has trained count as done, but say nothing on how fast this one is.
        """
        each = self._work[name]
        scores: dict[int, list[float]] = {}
        for line in history:
            if "macro_f1" in line:
                scores.setdefault(line["epoch"], []).append(line["macro_f1"])
        if scores:
            self._best[name] = max(sum(values) / len(values) for values in scores.values())
        epochs = max((line["epoch"] for line in history), default=0)
        self._left[name] = float((each.epochs - epochs) * each.images * each.pixels)
        if name not in self._trained:
            return ""
        self._done += each.images * each.pixels
        left = self._run_left(self._clock(), 0.0)
        return f"{self._rate:,.0f} images/s" + (f", {clock_time(left)} left of the training" if left else "")

    def _run_left(self, now: float, in_epoch: float) -> float:
        """Seconds that the networks still take, at the speed that this process has had on the whole so far."""
        left = max(sum(self._left.values()) - in_epoch, 0.0)
        done = self._done + in_epoch
        return left * (now - self._started) / done if done else 0.0


@contextmanager
def training_progress(console: Console, work: Mapping[str, NetworkWork]) -> Generator[TrainingProgress]:
    """Show the progress of a training while the block runs."""
    if console.quiet:
        yield TrainingProgress(work, lambda *_: None)
        return
    columns = [TextColumn(column) if isinstance(column, str) else column for column in COLUMNS]
    with console.live(*columns, refresh_per_second=REFRESH_PER_S) as bar:
        yield TrainingProgress(work, _Lines(console).show if bar is None else _Bar(bar).show)


class _Bar:
    """One bar, for the epoch that is trained."""

    def __init__(self, bar: Progress) -> None:
        self._bar, self._shown_at = bar, 0.0
        self._task: TaskID | None = None

    def show(self, title: str, images: int, total: int, facts: Callable[[], str]) -> None:
        """Move the bar; a new title starts a new one."""
        if self._task is None:
            self._task = self._bar.add_task(title, total=total, facts="")
        fields: dict[str, Any] = {}
        if time.monotonic() - self._shown_at >= 1 / REFRESH_PER_S or images >= total:
            self._shown_at = time.monotonic()
            fields["facts"] = facts()  # reads the loss, for which a GPU has to be waited for
        self._bar.update(self._task, description=title, completed=images, total=total, **fields)


class _Lines:
    """A line, at most once in SECONDS_BETWEEN_LINES."""

    def __init__(self, console: Console) -> None:
        self._console, self._last_line_at = console, time.monotonic()

    def show(self, title: str, images: int, total: int, facts: Callable[[], str]) -> None:
        """Print a line if the last one is long enough ago."""
        if time.monotonic() - self._last_line_at >= SECONDS_BETWEEN_LINES:
            self._last_line_at = time.monotonic()
            self._console.line(f"{title}, {images:,} of {total:,} images, {facts()}")
