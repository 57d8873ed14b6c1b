"""Assign units of work to workers that may die.

a number of units + workers that come, finish and die -> each unit done once, or abandoned.

The units of a dead worker go to others. The one that it was working on may have killed it: after `MOST_DEATHS` deaths
or failures, a unit is abandoned, so that it does not kill more workers. Units that were only waiting are not counted.
Workers and units are plain numbers here.
"""

from collections import Counter, deque

MOST_DEATHS = 3
IN_FLIGHT = 2  # units of a worker: the current and the next one, so that it never waits for the driver


class WorkQueue:
    """The units that are still to be done, and who works on which.

    Attributes:
        abandoned: the units that too many workers died of or failed on.
    """

    def __init__(self, count: int) -> None:
        self._waiting = deque(range(count))
        self._held: dict[int, list[int]] = {}
        self._deaths: Counter[int] = Counter()
        self.abandoned: list[int] = []

    @property
    def left(self) -> bool:
        """Whether any unit is waiting or in progress."""
        return bool(self._waiting) or any(self._held.values())

    def next_for(self, worker: int) -> int | None:
        """Assign another unit to a worker; None if it has enough, or none is waiting."""
        held = self._held.setdefault(worker, [])
        if len(held) >= IN_FLIGHT or not self._waiting:
            return None
        held.append(self._waiting.popleft())
        return held[-1]

    def done(self, worker: int, unit: int) -> None:
        """Record that a worker finished a unit."""
        self._held[worker].remove(unit)

    def failed(self, worker: int, unit: int) -> None:
        """Record that a unit failed, but its worker is alive."""
        self._held[worker].remove(unit)
        self._count_death(unit)

    def lost(self, worker: int) -> None:
        """Record that a worker died while it worked on the oldest of its unfinished units."""
        held = self._held.pop(worker, [])
        self._waiting.extendleft(reversed(held[1:]))
        for unit in held[:1]:
            self._count_death(unit)

    def _count_death(self, unit: int) -> None:
        self._deaths[unit] += 1
        if self._deaths[unit] < MOST_DEATHS:
            self._waiting.append(unit)  # behind all others: what can be done is done first
        else:
            self.abandoned.append(unit)
