"""Which of several ways to tell is better: scores side by side, on the same photos.

true class indices (N,), told ones (ways, seeds, N) and the person of each photo -> one Standing for each way.

Two intervals that overlap say little about a difference, for the ways mostly fail on the same people. So the people
are drawn once for all, and the difference is taken inside each draw.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classify.evaluation.metrics import Codes, draw_people, drawn_macro_f1, interval_of, macro_f1


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better than the first way.

    Attributes:
        macro_f1: this way's macro-F1 minus the first one's.
        low, high: 95% bootstrap interval of it, the same drawn people for both.
        better: share of the draws in which it is above 0.
    """

    macro_f1: float
    low: float
    high: float
    better: float

    def as_json(self) -> dict[str, float]:
        """The figures as compare.json has them."""
        return {"macro_f1": self.macro_f1, "low": self.low, "high": self.high, "better": self.better}


@dataclass(frozen=True, slots=True)
class Standing:
    """One way's figures for one task or the joint class.

    Attributes:
        macro_f1: mean over the seeds.
        low, high: 95% bootstrap interval of that mean, people drawn with replacement.
        accuracy: share of right answers, mean over the seeds.
        by_seed: the macro-F1 of each seed.
        difference: to the first way; None for the first way itself.
    """

    macro_f1: float
    low: float
    high: float
    accuracy: float
    by_seed: tuple[float, ...]
    difference: Difference | None

    def as_json(self) -> dict[str, Any]:
        """The figures as compare.json has them."""
        return {
            "macro_f1": self.macro_f1,
            "low": self.low,
            "high": self.high,
            "accuracy": self.accuracy,
            "by_seed": list(self.by_seed),
            "difference": self.difference.as_json() if self.difference else None,
        }


def standings(
    truth: Codes, told: NDArray[np.intp], people: Sequence[str], classes: int, *, draws: int = 1000, seed: int = 0
) -> list[Standing]:
    """Score each way, and its difference to the first one.

    Args:
        truth: (N,) in [0, classes).
        told: (ways, seeds, N) in [0, classes), or -1 where there is no answer, which is counted as wrong.
        people: the person of each photo.
        classes: number of classes.
        draws: bootstrap draws.
        seed: of the bootstrap.
    """
    names, person = np.unique(np.asarray(people), return_inverse=True)
    times = draw_people(len(names), draws, seed)
    found: list[Standing] = []
    first = np.zeros(draws)
    for number, way in enumerate(told):
        drawn = np.mean([drawn_macro_f1(truth, one, person, times, classes) for one in way], axis=0)
        by_seed = tuple(macro_f1(truth, one) for one in way)
        mean, accuracy = float(np.mean(by_seed)), float((way == truth).mean())
        difference = None
        if number == 0:
            first = drawn
        else:
            apart = drawn - first
            difference = Difference(mean - found[0].macro_f1, *interval_of(apart), float((apart > 0).mean()))
        found.append(Standing(mean, *interval_of(drawn), accuracy, by_seed, difference))
    return found
