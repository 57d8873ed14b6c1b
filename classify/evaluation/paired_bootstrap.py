"""Which of several methods predicts better: scores side by side, on the same photos.

In: true class indices (N,), predicted ones (methods, seeds, N) and the person in each photo. Out: a PairedScore per
method.

Methods mostly fail on the same people, so two overlapping intervals say little about the difference. The people are
therefore drawn once for all methods, and the difference is computed within each draw.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classify.evaluation.metrics import Codes, bootstrap_counts, bootstrap_macro_f1, macro_f1, percentile_interval


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better a method is than the first one."""

    macro_f1: float  # this method's macro-F1 minus the first one's
    low: float  # low, high: 95% bootstrap interval of it, with the same drawn people for both
    high: float
    better: float  # share of the draws in which it is above 0

    def as_json(self) -> dict[str, float]:
        """Return the figures for compare.json."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class PairedScore:
    """One method's figures for one task or the joint class."""

    macro_f1: float  # mean over the seeds
    low: float  # low, high: 95% bootstrap interval of that mean, over people drawn with replacement
    high: float
    accuracy: float  # share of correct predictions, mean over the seeds
    by_seed: tuple[float, ...]  # the macro-F1 of each seed
    difference: Difference | None  # to the first method; None for the first method itself

    def as_json(self) -> dict[str, Any]:
        """Return the figures for compare.json."""
        return asdict(self) | {"by_seed": list(self.by_seed)}


def paired_scores(
    true_codes: Codes,
    predicted_codes: NDArray[np.intp],
    people: Sequence[str],
    classes: int,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> list[PairedScore]:
    """Score each method, and its difference to the first one.

    Args:
        true_codes: (N,) in [0, classes).
        predicted_codes: (methods, seeds, N) in [0, classes), or -1 for a missing prediction, which counts as wrong.
        people: (N,) the person in each photo.
        classes: number of classes.
        draws: number of bootstrap draws.
        seed: of the bootstrap.
    """
    names, person = np.unique(np.asarray(people), return_inverse=True)
    counts = bootstrap_counts(len(names), draws, seed)
    scores: list[PairedScore] = []
    first_drawn = np.zeros(draws)
    for method, by_seed in enumerate(predicted_codes):
        # The mean over the seeds, of all photos and of each draw.
        seed_scores = tuple(macro_f1(true_codes, predicted) for predicted in by_seed)
        mean = float(np.mean(seed_scores))
        drawn = np.mean([bootstrap_macro_f1(true_codes, p, person, counts, classes) for p in by_seed], axis=0)
        accuracy = float((by_seed == true_codes).mean())
        # The difference within each draw.
        difference = None
        if method == 0:
            first_drawn = drawn
        else:
            gain = drawn - first_drawn
            difference = Difference(mean - scores[0].macro_f1, *percentile_interval(gain), float((gain > 0).mean()))
        scores.append(PairedScore(mean, *percentile_interval(drawn), accuracy, seed_scores, difference))
    return scores
