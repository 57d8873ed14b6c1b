"""Actors on a Ray cluster that is there already: connected to, started, fed, replaced when they die, ended.

pieces of work + a method of the actors -> their answers, each piece once, whatever dies meanwhile.

Ray's own restarts and retries are off: what to do about a death is decided here, in one place, and a run that gets
nowhere ends with a sentence. Ray pickles what goes between the processes; that is settings, file names and counts.
"""

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from cache.errors import CacheError, UsageError
from pipeline.detection.ray_worker import Trouble, UnitActor, WorkOrder
from pipeline.detection.work_queue import MOST_DEATHS, WorkQueue

ADDRESS = "RAY_ADDRESS"
ALONE_S = 300.0  # that a run waits without a living actor
STALLED_S = 1800.0  # that a run waits for anything to be finished
MOST_FAILED_STARTS = 10  # in a row
CONNECT_S = 10.0
WAKE_S = 0.5  # between looks at the clock and for Ctrl-C
BEGIN = -1  # stands for a piece where an actor was only asked to begin
GPU_THREADS = 8  # at most, that decode for one GPU when the user does not say how many
KEPT = "What was committed is kept: the same command goes on from it."

Piece = TypeVar("Piece")


@dataclass(frozen=True, slots=True)
class Places:
    """Where actors fit in a cluster.

    Attributes:
        count: actors that fit on all machines together.
        device: that each one works on, "cpu" or "cuda".
        threads: CPUs of each one.
    """

    count: int
    device: str
    threads: int


@dataclass(slots=True)
class _Actor:
    handle: Any
    node: str = ""  # the machine, once it has told


@contextlib.contextmanager
def cluster() -> Generator[Any]:
    """Ray, connected to the cluster that RAY_ADDRESS names.

    Raises:
        UsageError: the extra is not installed, or there is no cluster.
    """
    where = os.environ.get(ADDRESS, "")
    if not where or where == "local" or "://" in where:
        raise UsageError(
            f"--engine ray needs a cluster that runs already: set {ADDRESS}=HOST:PORT, as `ray start` says it, "
            f"on a machine of the cluster{f' (it is {where!r}, which would start or bridge to one)' if where else ''}"
        )
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # no remark about it
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise UsageError("--engine ray needs an extra: pip install 'faceline[ray]'") from error
    _check_answers(where)
    try:
        # Ray has its workers import from the current folder first, where files of the user may have our rooms' names.
        with contextlib.chdir(Path(__file__).parents[2]):
            ray.init(address=where, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, AssertionError, ray.exceptions.RayError) as error:
        why = str(error).strip().partition("\n")[0]
        raise UsageError(f"{ADDRESS}={where}: no cluster can be used there: {why}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answers(where: str) -> None:
    """Try whether anything is at HOST:PORT, for Ray takes minutes to give up."""
    host, _, port = where.rpartition(":")
    if where == "auto":
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise UsageError(f"{ADDRESS}={where}: nothing answers there: {error}. `ray status` tells more.") from error


def places(nodes: Sequence[dict[str, float]], device: str, threads: int | None) -> Places:
    """Where actors fit: one for each GPU, or, without any, one for each CPU.

    Args:
        nodes: the resources of each machine, by Ray's names.
        device: "auto", "cpu" or "cuda".
        threads: CPUs of each actor; None for one, or beside a GPU for its share of the machine's.

    Raises:
        UsageError: nothing fits.
    """
    if device not in {"auto", "cpu", "cuda"}:
        raise UsageError(f"--device {device}: with --engine ray it is auto, cpu or cuda; Ray says which GPU")
    gpus = [node for node in nodes if node.get("GPU", 0) >= 1]
    if device == "cuda" or (device == "auto" and gpus):
        share = min((int(node.get("CPU", 0) // node["GPU"]) for node in gpus), default=1)
        threads = threads or max(1, min(share, GPU_THREADS))
        count = sum(int(min(node["GPU"], node.get("CPU", 0) // threads)) for node in gpus)
        found = Places(count, "cuda", threads)
    else:
        threads = threads or 1
        found = Places(sum(int(node.get("CPU", 0) // threads) for node in nodes), "cpu", threads)
    if not found.count:
        what = "a GPU and " if found.device == "cuda" else ""
        raise UsageError(f"no machine of the cluster has {what}{threads} CPUs for an actor; see --device and --workers")
    return found


class WorkerPool:
    """The actors of one run.

    Args:
        ray: connected.
        order: what the actors are told.
        count: of actors at a time.

    Attributes:
        made_by: the actors that answered in the latest `work`, and the machine of each.
    """

    def __init__(self, ray: Any, order: WorkOrder, count: int) -> None:
        self._ray, self._order, self._count = ray, order, count
        gpus = 1 if order.device == "cuda" else 0
        limits = {"num_cpus": order.threads, "num_gpus": gpus, "max_restarts": 0, "max_task_retries": 0}
        self._class = ray.remote(**limits)(UnitActor)
        self._actors: dict[int, _Actor] = {}
        self._asked: dict[Any, tuple[int, int]] = {}  # an answer to come -> who was asked, and for which piece
        self._started = self._failed_starts = 0
        self._last_trouble = ""
        self.made_by: dict[int, str] = {}

    def work(self, method: str, pieces: Sequence[Piece], take: Callable[[Piece, Any], None]) -> None:
        """Have every piece done.

        Args:
            method: of `UnitActor`, which takes a piece.
            pieces: in the order in which they are given out.
            take: called with each piece and its answer, in any order.

        Raises:
            CacheError: an actor can't go on, all are dead, nothing gets on, or a piece was given up.
        """
        handout = WorkQueue(len(pieces))
        self.made_by = {}
        moved = alive = time.monotonic()
        with _stop_asked_for() as stop_if_asked:
            while handout.left:
                stop_if_asked()
                self._recruit()
                for number, actor in self._actors.items():
                    while actor.node and (piece := handout.next_for(number)) is not None:
                        self._asked[getattr(actor.handle, method).remote(pieces[piece])] = number, piece
                for answer in self._ray.wait(list(self._asked), num_returns=1, timeout=WAKE_S)[0]:
                    if done := self._hear(answer, handout):
                        take(pieces[done[0]], done[1])
                        moved = time.monotonic()
                if any(actor.node for actor in self._actors.values()):
                    alive = time.monotonic()
                self._be_patient(time.monotonic() - moved, time.monotonic() - alive)
        if handout.aside:
            raise CacheError(
                f"{len(handout.aside)} of {len(pieces)} pieces of the work were given up after {MOST_DEATHS} failures "
                f"each, the last one: {self._last_trouble}\n{KEPT} A run without --engine ray shows more."
            )

    def end(self) -> None:
        """End the actors, whatever they are at: a unit that is half made is never read."""
        for actor in self._actors.values():
            self._ray.kill(actor.handle)
        self._actors.clear()
        self._asked.clear()

    def _recruit(self) -> None:
        """Start actors for those that are missing; nobody waits for them while others live."""
        while len(self._actors) < self._count and self._failed_starts < MOST_FAILED_STARTS:
            handle = self._class.remote(self._order)
            self._actors[self._started] = _Actor(handle)
            self._asked[handle.begin.remote()] = self._started, BEGIN
            self._started += 1
        if not self._actors:
            raise CacheError(f"no actor of the Ray cluster lives: {self._last_trouble}\n{KEPT}")

    def _hear(self, answer: Any, handout: WorkQueue) -> tuple[int, Any] | None:
        """A piece that is done and what came of it; None when the answer is another one."""
        number, piece = self._asked.pop(answer)
        failures = self._ray.exceptions
        try:
            told = self._ray.get(answer)
        except failures.RayError as error:
            self._last_trouble = _reason(error)
            if isinstance(error, failures.RayTaskError) and piece != BEGIN:
                handout.failed(number, piece)
            else:
                self._bury(number, handout)
            return None
        if isinstance(told, Trouble):
            raise CacheError(f"{told.sentence}\n{KEPT}")
        if piece == BEGIN:
            self._actors[number].node = told
            return None
        self._failed_starts = 0
        self.made_by[number] = self._actors[number].node
        handout.done(number, piece)
        return piece, told

    def _bury(self, number: int, handout: WorkQueue) -> None:
        actor = self._actors.pop(number)
        self._failed_starts += not actor.node
        self._ray.kill(actor.handle)  # an actor that can't be reached may live
        self._asked = {answer: asked for answer, asked in self._asked.items() if asked[0] != number}
        handout.lost(number)

    def _be_patient(self, still_s: float, alone_s: float) -> None:
        told = f" Last trouble: {self._last_trouble}" if self._last_trouble else ""
        if alone_s > ALONE_S:
            raise CacheError(
                f"for {ALONE_S:.0f} s, no actor could be started on the Ray cluster. `ray status` there shows whether "
                f"machines are gone or others use them.{told}\n{KEPT}"
            )
        if still_s > STALLED_S:
            raise CacheError(f"for {STALLED_S:.0f} s, nothing was finished on the Ray cluster.{told}\n{KEPT}")


@contextlib.contextmanager
def _stop_asked_for() -> Generator[Callable[[], None]]:
    """A function that hands on the Ctrl-C that came since, at a moment at which Ray is not in the way."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    came: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))

    def hand_on() -> None:
        if came and callable(before):
            before(*came[0])

    try:
        yield hand_on
    finally:
        signal.signal(signal.SIGINT, before)


def _reason(error: Exception) -> str:
    """The line of Ray's many that tells most: the last one of a traceback, or the first one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if "Traceback" in str(error) or "ray::" in lines[0] else lines[0]) if lines else repr(error)
