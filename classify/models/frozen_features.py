"""Head-only training: what the last layer sees, computed once.

pixels (N, H, W, 3) uint8 -> features (N, D) float32. With `train.freeze` the backbone never runs again, so that a
laptop trains a head in seconds; the price is that photos are not augmented, only repeated.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from classify.models.backbones import Normalise, features_of

BATCH = 64


@dataclass(frozen=True, slots=True)
class Features:
    """(N, D) float32 on the CPU, one row per sample."""

    tensor: Tensor

    def rows(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """The features of some samples."""
        return self.tensor[rows].numpy()


@torch.inference_mode()
def compute_features(network: nn.Module, normalise: Normalise, pixels: NDArray[np.uint8], device: str) -> Tensor:
    """Run the frozen backbone once over every input: (N, D) float32 on the CPU."""
    network.eval()
    parts = [
        features_of(network, normalise(torch.from_numpy(np.array(pixels[start : start + BATCH])).to(device))).cpu()
        for start in range(0, len(pixels), BATCH)
    ]
    return torch.cat(parts).float()
