"""From the probabilities of one or several networks to an answer.

several (N, C) -> their mean -> temperature -> calibrated probabilities; times a factor per class -> answer.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float32]
TINY = 1e-12


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """How one task's probabilities become an answer."""

    temperature: float = 1.0  # above 1 for networks that are more confident than they are accurate
    # what each class's probability is multiplied by before the largest is taken; empty for none
    factors: tuple[float, ...] = ()
    unsure_below: float = 0.0  # an answer with a smaller probability is marked as unsure

    def as_json(self) -> dict[str, Any]:
        """The rule as it stands in bundle.json and votes.json."""
        return asdict(self)

    def calibrated(self, probabilities: Probabilities) -> Probabilities:
        """Apply the temperature: (N, C) -> (N, C), rows that add up to 1."""
        if self.temperature == 1.0:
            return probabilities
        powers = np.exp(np.log(np.clip(probabilities, TINY, 1)) / self.temperature)
        return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)

    def answers(self, probabilities: Probabilities) -> NDArray[np.intp]:
        """Choose a class for each row: (N, C) calibrated -> (N,) class indices."""
        return (probabilities * np.array(self.factors or (1.0,))).argmax(axis=1)

    def unsure(self, probabilities: Probabilities, answers: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Mark the answers whose probability is below `unsure_below`: (N, C) and (N,) -> (N,)."""
        return probabilities[np.arange(len(answers)), answers] < self.unsure_below


def mean_probabilities(parts: Sequence[Probabilities], weights: Sequence[float] | None = None) -> Probabilities:
    """The weighted mean of several (N, C); the plain mean without weights."""
    return np.average(np.stack(parts), axis=0, weights=weights).astype(np.float32)
