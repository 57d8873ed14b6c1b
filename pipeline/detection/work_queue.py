"""Who does which piece of the work, when whoever does it may die.

a number of pieces + workers that come, finish and die -> each piece done once, or set aside.

A piece of a worker that died goes to another one. The piece that the worker was at may be what killed it: after
`MOST_DEATHS` deaths it is set aside, so that it takes no more workers along. The pieces that waited behind it bear no
blame. Nothing here knows what a worker or a piece is: both are numbers.
"""

from collections import Counter, deque

MOST_DEATHS = 3
IN_FLIGHT = 2  # pieces of a worker: the one it is at, and the next one, so that it never waits for the driver


class WorkQueue:
    """The pieces that are still to be done, and who is at which.

    Attributes:
        aside: the pieces that too many workers died at.
    """

    def __init__(self, pieces: int) -> None:
        self._waiting = deque(range(pieces))
        self._held: dict[int, list[int]] = {}
        self._deaths: Counter[int] = Counter()
        self.aside: list[int] = []

    @property
    def left(self) -> bool:
        """Whether anything is waiting or being done."""
        return bool(self._waiting) or any(self._held.values())

    def next_for(self, worker: int) -> int | None:
        """Another piece for a worker; None when it has enough, or none is waiting."""
        held = self._held.setdefault(worker, [])
        if len(held) >= IN_FLIGHT or not self._waiting:
            return None
        held.append(self._waiting.popleft())
        return held[-1]

    def done(self, worker: int, piece: int) -> None:
        """A worker has finished a piece."""
        self._held[worker].remove(piece)

    def failed(self, worker: int, piece: int) -> None:
        """A worker lives, but a piece failed."""
        self._held[worker].remove(piece)
        self._blame(piece)

    def lost(self, worker: int) -> None:
        """A worker died: at the piece that it was given first of those that it has not finished."""
        held = self._held.pop(worker, [])
        self._waiting.extendleft(reversed(held[1:]))
        for piece in held[:1]:
            self._blame(piece)

    def _blame(self, piece: int) -> None:
        self._deaths[piece] += 1
        if self._deaths[piece] < MOST_DEATHS:
            self._waiting.append(piece)  # behind all others: what can be done is done first
        else:
            self.aside.append(piece)
