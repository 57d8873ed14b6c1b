"""Head-only training: the inputs of the last layer, computed once.

pixels (N, H, W, 3) uint8 -> features (N, D) float32. With `train.freeze` the backbone runs only once, so that a laptop
trains a head in seconds; in return, photos are not augmented, only repeated.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from classify.devices import compute_in_batches
from classify.models.backbones import Normalise, features_of


@torch.inference_mode()
def compute_features(network: nn.Module, normalise: Normalise, pixels: NDArray[np.uint8], device: str) -> Tensor:
    """Run the frozen backbone once over every input: (N, D) float32 on the CPU."""
    network.eval()
    rows = np.arange(len(pixels))
    return compute_in_batches(lambda images: features_of(network, normalise(images)), pixels, rows, device).float()
