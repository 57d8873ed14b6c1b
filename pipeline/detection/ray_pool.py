"""Run actors on an existing Ray cluster: connect, start them, give them work, replace those that die, stop them.

units of work + the name of an actor method -> the result of each unit, once, whatever dies in the meantime.

Ray's own restarts and retries are off: this module alone decides what happens after a crash, and a run that makes no
progress ends with a message. Ray pickles what processes exchange: settings, file names and counts.
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
from typing import Any, Protocol, TypeVar

from cache.errors import CacheError, UsageError
from pipeline.detection.ray_worker import WorkerFailure
from pipeline.detection.work_queue import MOST_DEATHS, WorkQueue

ADDRESS = "RAY_ADDRESS"
NO_ACTOR_S = 300.0  # a run without a living actor gives up after this time
STALLED_S = 1800.0  # a run in which no unit is finished gives up after this time
MOST_FAILED_STARTS = 10  # in a row
CONNECT_S = 10.0  # timeout of a connection
POLL_S = 0.5  # between checks of the timeouts and for Ctrl-C
BEGIN = -1  # in place of a unit's index: the call that starts an actor
GPU_THREADS = 8  # maximum of CPUs per GPU unless the user names a number
KEPT = "What was committed is kept: the same command continues from it."

Unit = TypeVar("Unit")


@dataclass(frozen=True, slots=True)
class ActorPlan:
    """How many actors fit into a cluster, on all machines together, and the device and CPUs of each."""

    count: int
    device: str  # "cpu" or "cuda"
    threads: int


class ActorSettings(Protocol):
    """What the constructor of an actor gets; a pool reads the device and CPUs of each actor from it."""

    @property
    def device(self) -> str:
        """ "cpu" or "cuda"."""
        ...

    @property
    def threads(self) -> int:
        """CPUs."""
        ...


@dataclass(slots=True)
class _Actor:
    handle: Any
    node: str = ""  # the id of its machine; empty until it has started


@contextlib.contextmanager
def cluster() -> Generator[Any]:
    """Connect to the cluster that RAY_ADDRESS names; yields the module `ray`.

    Raises:
        UsageError: the extra is not installed, or there is no cluster.
    """
    address = os.environ.get(ADDRESS, "")
    if not address or address == "local" or "://" in address:
        reason = f" (it is {address!r}, which would start a cluster or a bridge to one)" if address else ""
        raise UsageError(
            f"--engine ray needs a running cluster: on one of its machines, set {ADDRESS}=HOST:PORT, "
            f"as `ray start` prints it{reason}"
        )
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # avoids a warning of Ray
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise UsageError("--engine ray needs an extra: pip install 'faceline[ray]'") from error
    _check_connection(address)
    try:
        # Ray's workers import from the current folder first, and the user's files there may have our packages' names.
        with contextlib.chdir(Path(__file__).parents[2]):
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, AssertionError, ray.exceptions.RayError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(f"{ADDRESS}={address}: can't use a cluster there: {reason}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_connection(address: str) -> None:
    """Check that something listens at HOST:PORT, since Ray itself takes minutes to give up."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise UsageError(f"{ADDRESS}={address}: nothing answers there: {error}. `ray status` shows more.") from error


def plan_actors(nodes: Sequence[dict[str, float]], device: str, threads: int | None) -> ActorPlan:
    """Plan the actors: one per GPU or, without any, one per CPU.

    Args:
        nodes: the resources of each machine, with Ray's names: "CPU", "GPU".
        device: "auto", "cpu" or "cuda".
        threads: CPUs per actor; None for one, or for a GPU's share of its machine's CPUs.

    Raises:
        UsageError: no actor fits.
    """
    if device not in {"auto", "cpu", "cuda"}:
        raise UsageError(f"--device {device}: with --engine ray it is auto, cpu or cuda; Ray assigns the GPU")
    gpus = [node for node in nodes if node.get("GPU", 0) >= 1]
    if device == "cuda" or (device == "auto" and gpus):
        share = min((int(node.get("CPU", 0) // node["GPU"]) for node in gpus), default=1)
        threads = threads or max(1, min(share, GPU_THREADS))
        count = sum(int(min(node["GPU"], node.get("CPU", 0) // threads)) for node in gpus)
        plan = ActorPlan(count, "cuda", threads)
    else:
        threads = threads or 1
        plan = ActorPlan(sum(int(node.get("CPU", 0) // threads) for node in nodes), "cpu", threads)
    if not plan.count:
        what = "a GPU and " if plan.device == "cuda" else ""
        raise UsageError(f"no machine of the cluster has {what}{threads} CPUs for an actor; see --device and --workers")
    return plan


class WorkerPool:
    """The `count` actors of one run on the cluster that `ray` is connected to.

    Args:
        ray: the module, connected.
        actor: a class whose method `begin` returns the id of the machine, or a WorkerFailure.
        settings: for its constructor.
        count: how many.

    Attributes:
        nodes_of_actors: the actors that finished units in the latest `run`, and the machine of each.
    """

    def __init__(self, ray: Any, actor: type, settings: ActorSettings, count: int) -> None:
        self._ray, self._settings, self._count = ray, settings, count
        gpus = 1 if settings.device == "cuda" else 0
        limits = {"num_cpus": settings.threads, "num_gpus": gpus, "max_restarts": 0, "max_task_retries": 0}
        self._class = ray.remote(**limits)(actor)
        self._actors: dict[int, _Actor] = {}
        self._pending: dict[Any, tuple[int, int]] = {}  # Ray's reference to a result -> actor, index of the unit
        self._started = self._failed_starts = 0
        self._last_error = ""
        self.nodes_of_actors: dict[int, str] = {}

    def run(self, method: str, units: Sequence[Unit], on_result: Callable[[Unit, Any], None]) -> None:
        """Have all units done by `method` of the actors; `on_result` gets each unit and its result, in any order.

        Raises:
            CacheError: an actor can't continue, all actors are dead, there is no progress, or a unit was abandoned.
        """
        queue = WorkQueue(len(units))
        self.nodes_of_actors = {}
        last_progress = last_alive = time.monotonic()
        with _deferred_interrupt() as raise_if_interrupted:
            while queue.left:
                raise_if_interrupted()
                self._start_missing_actors()
                self._assign(queue, method, units)
                for reference in self._ray.wait(list(self._pending), num_returns=1, timeout=POLL_S)[0]:
                    if done := self._receive(reference, queue):
                        on_result(units[done[0]], done[1])
                        last_progress = time.monotonic()
                if any(actor.node for actor in self._actors.values()):
                    last_alive = time.monotonic()
                self._check_timeouts(time.monotonic() - last_progress, time.monotonic() - last_alive)
        if queue.abandoned:
            raise CacheError(
                f"{len(queue.abandoned)} of {len(units)} units of work were abandoned after {MOST_DEATHS} failures "
                f"each, the last one: {self._last_error}\n{KEPT} A run without --engine ray shows more."
            )

    def stop(self) -> None:
        """Kill all actors; a unit in progress is lost, but no partial unit is ever read."""
        for actor in self._actors.values():
            self._ray.kill(actor.handle)
        self._actors.clear()
        self._pending.clear()

    def _start_missing_actors(self) -> None:
        """Start actors until there are enough; the others work on in the meantime."""
        while len(self._actors) < self._count and self._failed_starts < MOST_FAILED_STARTS:
            handle = self._class.remote(self._settings)
            self._actors[self._started] = _Actor(handle)
            self._pending[handle.begin.remote()] = self._started, BEGIN
            self._started += 1
        if not self._actors:
            raise CacheError(f"no actor of the Ray cluster is alive: {self._last_error}\n{KEPT}")

    def _assign(self, queue: WorkQueue, method: str, units: Sequence[Unit]) -> None:
        """Give units to all actors that have started and have room for more."""
        for number, actor in self._actors.items():
            while actor.node and (index := queue.next_for(number)) is not None:
                self._pending[getattr(actor.handle, method).remote(units[index])] = number, index

    def _receive(self, reference: Any, queue: WorkQueue) -> tuple[int, Any] | None:
        """Handle an actor's answer; returns the index of a finished unit and its result, else None."""
        number, index = self._pending.pop(reference)
        exceptions = self._ray.exceptions
        try:
            result = self._ray.get(reference)
        except exceptions.RayError as error:
            self._last_error = _main_line(error)
            if isinstance(error, exceptions.RayTaskError) and index != BEGIN:
                queue.failed(number, index)
            else:
                self._remove_actor(number, queue)
            return None
        if isinstance(result, WorkerFailure):
            raise CacheError(f"{result.message}\n{KEPT}")
        if index == BEGIN:
            self._actors[number].node = result
            return None
        self._failed_starts = 0
        self.nodes_of_actors[number] = self._actors[number].node
        queue.done(number, index)
        return index, result

    def _remove_actor(self, number: int, queue: WorkQueue) -> None:
        """Forget a dead actor and return its units to the queue."""
        actor = self._actors.pop(number)
        self._failed_starts += not actor.node
        self._ray.kill(actor.handle)  # an actor that can't be reached may still be alive
        self._pending = {reference: call for reference, call in self._pending.items() if call[0] != number}
        queue.lost(number)

    def _check_timeouts(self, without_progress_s: float, without_actor_s: float) -> None:
        """Raise a CacheError if the run has waited for too long."""
        last_error = f" Last error: {self._last_error}" if self._last_error else ""
        if without_actor_s > NO_ACTOR_S:
            raise CacheError(
                f"for {NO_ACTOR_S:.0f} s, no actor could be started on the Ray cluster. `ray status` there shows "
                f"whether machines are gone or in use by others.{last_error}\n{KEPT}"
            )
        if without_progress_s > STALLED_S:
            raise CacheError(f"for {STALLED_S:.0f} s, no work was finished on the Ray cluster.{last_error}\n{KEPT}")


@contextlib.contextmanager
def _deferred_interrupt() -> Generator[Callable[[], None]]:
    """Hold back Ctrl-C, which must not interrupt Ray's calls; yields a function that raises it at a safe moment."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    received: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: received.append((number, frame)))

    def raise_if_interrupted() -> None:
        if received and callable(before):
            before(*received[0])

    try:
        yield raise_if_interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _main_line(error: Exception) -> str:
    """Return the most informative line of one of Ray's long messages: a traceback's last line, else the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if "Traceback" in str(error) or "ray::" in lines[0] else lines[0]) if lines else repr(error)
