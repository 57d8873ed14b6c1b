"""The arrays between labels and losses, by name.

class indices (N,) -> one-hot targets (N, C).
"""

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.intp]  # class indices; negative where there is no label
Numbers = NDArray[np.float64]  # the numbers behind labels such as an age; NaN where there is none
Targets = NDArray[np.float32]  # rows of weights over classes, or over years
TINY = 1e-7  # keeps divisors and logarithms away from 0


def one_hot(codes: Codes, classes: int) -> Targets:
    """(N,) class indices -> (N, C), zero where the index is negative."""
    return np.where(codes[:, None] == np.arange(classes), 1.0, 0.0).astype(np.float32)
