"""A run's settings, curves, pictures, scores and bundle, given to each tracker that `train.trackers` names.

In: what a run makes while it trains. Out: the trackers' records, and RUN/trackers.json, with which a continued run goes
on where it stopped. A tracker that fails is a warning: the run goes on without it.
"""

import importlib.util
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import UsageError
from pipeline.console import Console
from pipeline.run_record import keep_json
from pipeline.settings import Settings
from pipeline.training.tracker_packages import MLflow, TensorBoard, Tracker, WeightsAndBiases

STATE = "trackers.json"  # in RUN


MAKE: Mapping[str, Callable[[], Tracker]] = {
    "wandb": WeightsAndBiases,
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
}


class Trackers:
    """The trackers of one run, each until it fails."""

    def __init__(self, run: Path, settings: Settings, console: Console) -> None:
        self._run, self._console = run, console
        self._memory = _read_state(run / STATE)
        self._trackers: dict[str, Tracker] = {}
        for name in () if self._memory.get("finished") else settings.train.trackers:
            self._trackers[name] = MAKE[name]()
            memory = self._memory.setdefault(name, {})
            self._each(lambda tracker, memory=memory: tracker.start(run, settings, memory), name, announce=True)
        self._keep()

    def __bool__(self) -> bool:
        """Whether there is any left."""
        return bool(self._trackers)

    def log_epochs(self, network: str, history: Sequence[Mapping[str, Any]]) -> None:
        """Add the epochs of a network that were not added before; `history` has a line of metrics.jsonl for each."""
        epochs = self._memory.setdefault("epochs", {})
        logged, last = epochs.get(network, 0), 0
        figures: dict[int, dict[str, float]] = {}
        for line in history:
            prefix = "/".join([*([line["network"]] if "network" in line else []), line["task"]])
            last = line["epoch"]
            if last > logged:
                numbers = {
                    key: value for key, value in line.items() if key != "epoch" and isinstance(value, int | float)
                }
                figures.setdefault(last, {}).update({f"{prefix}/{key}": value for key, value in numbers.items()})
        for epoch, values in figures.items():
            self._each(lambda tracker, values=values, epoch=epoch: tracker.log(values, epoch))
        if figures:
            epochs[network] = last
            self._keep()

    def log_outcome(self, scores: Mapping[str, Mapping[str, float]], bundle: Path) -> None:
        """Add the final scores, by "joint" and task, and the bundle."""
        figures = {f"final/{name}/{key}": value for name, score in scores.items() for key, value in score.items()}
        self._each(lambda tracker: tracker.log(figures, 0))
        self._each(lambda tracker: tracker.bundle(bundle))

    def picture(self, name: str, make: Callable[[], NDArray[np.uint8]]) -> None:
        """Add a picture, RGB (H, W, 3), which is made only if there is a tracker to add it to."""
        if not self._trackers:
            return
        try:
            image = make()
        except Exception as error:  # a damaged crop, say: trackers must not end a training
            self._console.warn(f"train.trackers: the picture {name} can't be made ({error})")
            return
        self._each(lambda tracker: tracker.picture(name, image))

    def finish(self, *, succeeded: bool) -> None:
        """Close all; the same run, started again once it has succeeded, is not tracked again."""
        tracked = bool(self._trackers)
        self._each(lambda tracker: tracker.finish(succeeded=succeeded))
        if tracked and succeeded:
            self._memory["finished"] = True
            self._keep()

    def _each(self, call: Callable[[Tracker], Any], only: str = "", *, announce: bool = False) -> None:
        for name in [only] if only else list(self._trackers):
            try:
                said = call(self._trackers[name])
                if announce:
                    self._console.line(f"{name} records in {said}")
            except Exception as error:  # of a package that has its own errors, and must not end a training
                reason = str(error).strip().split("\n")[0] or type(error).__name__
                self._console.warn(f"train.trackers: {name} has failed ({reason}); the run goes on without it")
                del self._trackers[name]

    def _keep(self) -> None:
        if self._memory:
            keep_json(self._run / STATE, self._memory, self._console.warn)


@contextmanager
def tracked_run(run: Path, settings: Settings, console: Console) -> Generator[Trackers]:
    """Open the trackers that the settings name, and close them however the block ends."""
    trackers = Trackers(run, settings, console)
    succeeded = False
    try:
        yield trackers
        succeeded = True
    finally:
        trackers.finish(succeeded=succeeded)


def refuse_missing_trackers(settings: Settings) -> None:
    """Raise UsageError if a tracker's package is not installed; the message says how to install it."""
    for name in settings.train.trackers:
        if importlib.util.find_spec(name) is None:
            raise UsageError(
                f"train.trackers: {name} is not installed; pip install 'faceline[{name}]', or leave it out with "
                f"--set train.trackers=[{', '.join(other for other in settings.train.trackers if other != name)}]"
            )


def _read_state(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # a new run; of a damaged file, epochs are recorded again
    return content if isinstance(content, dict) else {}
