"""What heads take labels from and make of them.

class indices and numbers -> rows of weights over classes.
"""

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.intp]
Numbers = NDArray[np.float64]
Targets = NDArray[np.float32]
TINY = 1e-7


def one_hot(codes: Codes, classes: int) -> Targets:
    """(N,) class indices -> (N, C), zero where one is negative."""
    return np.where(codes[:, None] == np.arange(classes), 1.0, 0.0).astype(np.float32)
