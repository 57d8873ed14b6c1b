"""Features: the inputs of a network's last layer.

pixels (N, H, W, 3) uint8 -> features (N, D) float32, of the backbone in evaluation mode.

Networks that differ only in the people they leave out have the same frozen backbone: its features are computed once.
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
    return compute_in_batches(compute, pixels, rows, device, fill=True).float()


class FrozenFeatures:
    """Features of a run's photos by a backbone that does not change: each is computed when it is needed, then kept."""

    def __init__(self) -> None:
        self._views: dict[bool, tuple[Tensor, NDArray[np.bool_]]] = {}  # plain, mirrored: (M, D) and which are known

    def of(
        self,
        network: nn.Module,
        normalise: Normalise,
        pixels: NDArray[np.uint8],
        device: str,
        *,
        rows: NDArray[np.intp],
        mirrored: bool = False,
    ) -> Tensor:
        """Return (N, D) float32; arguments as of `compute_features`, with the same pixels and backbone in each call."""
        features, known = self._views.get(mirrored, (torch.empty(0), np.zeros(len(pixels), np.bool_)))
        missing = rows[~known[rows]]
        if len(missing):
            computed = compute_features(network, normalise, pixels, device, rows=missing, mirrored=mirrored)
            if not known.any():
                features = computed.new_empty((len(pixels), computed.shape[1]))
            features[missing] = computed
            known[missing] = True
            self._views[mirrored] = features, known
        return features[rows]
