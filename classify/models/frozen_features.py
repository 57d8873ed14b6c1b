"""Features: the inputs of a network's last layer.

pixels (N, H, W, 3) uint8 -> features (N, D) float32, of the backbone in evaluation mode.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from classify.devices import compute_in_batches
from classify.models.backbones import Normalise, features_of


@torch.inference_mode()
def compute_features(
    network: nn.Module,
    normalise: Normalise,
    pixels: NDArray[np.uint8],
    device: str,
    *,
    rows: NDArray[np.intp] | None = None,
    mirrored: bool = False,
) -> Tensor:
    """Run the frozen backbone once over each input: (N, D) float32 on the CPU.

    Args:
        network: put into evaluation mode.
        normalise: from pixels to what the network expects.
        pixels: read batch by batch.
        device: where `network` is.
        rows: (N,) the inputs to take, in this order; None for all.
        mirrored: take their mirror images.
    """
    network.eval()

    def compute(images: Tensor) -> Tensor:
        inputs = normalise(images)
        return features_of(network, inputs.flip(3) if mirrored else inputs)

    rows = np.arange(len(pixels)) if rows is None else rows
    return compute_in_batches(compute, pixels, rows, device).float()
