"""Probabilities from a trained network.

inputs (N, H, W, 3) uint8 -> probabilities (N, C) float32 whose rows add up to 1.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from classify.networks import Normalise

BATCH = 64


@torch.inference_mode()
def probabilities(
    network: nn.Module, inputs: NDArray[Any], normalise: Normalise | None, device: str, *, flip: bool = False
) -> NDArray[np.float32]:
    """The class probabilities of each input.

    Args:
        network: put into evaluation mode.
        inputs: (N, H, W, 3) uint8, or (N, D) float32 features when `network` is a head and `normalise` None.
        normalise: from pixels to what the network expects.
        device: where `network` is.
        flip: average over the image and its mirror image.
    """
    network.eval()
    parts: list[NDArray[np.float32]] = []
    for start in range(0, len(inputs), BATCH):
        batch = torch.from_numpy(np.array(inputs[start : start + BATCH])).to(device)
        batch = normalise(batch) if normalise else batch
        told = network(batch).float().softmax(dim=1)
        if flip:
            told = (told + network(batch.flip(3)).float().softmax(dim=1)) / 2
        parts.append(told.cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
