"""From the probabilities of one or several networks to an answer.

several (N, C) -> their mean -> temperature -> probabilities; times the factors that favour a class -> answer.
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
    """What becomes of a task's votes.

    Attributes:
        temperature: above 1 for networks that are surer than they are right.
        factors: of each class's probability before the largest is taken; empty for none.
        unsure_below: an answer with a smaller probability is marked.
    """

    temperature: float = 1.0
    factors: tuple[float, ...] = ()
    unsure_below: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """As bundle.json has it."""
        return asdict(self)

    def calibrated(self, votes: Probabilities) -> Probabilities:
        """(N, C) -> (N, C), rows that add up to 1."""
        if self.temperature == 1.0:
            return votes
        powers = np.exp(np.log(np.clip(votes, TINY, 1)) / self.temperature)
        return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)

    def answers(self, probabilities: Probabilities) -> NDArray[np.intp]:
        """(N, C) -> (N,) class indices."""
        return (probabilities * np.array(self.factors or (1.0,))).argmax(axis=1)

    def unsure(self, probabilities: Probabilities, answers: NDArray[np.intp]) -> NDArray[np.bool_]:
        """(N,) whether the answer's probability is too small."""
        return probabilities[np.arange(len(answers)), answers] < self.unsure_below


def vote(parts: Sequence[Probabilities], weights: Sequence[float] | None = None) -> Probabilities:
    """The weighted mean of several (N, C)."""
    return np.average(np.stack(parts), axis=0, weights=weights).astype(np.float32)
