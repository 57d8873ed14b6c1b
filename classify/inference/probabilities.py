"""Probabilities from a trained network.

inputs (N, H, W, 3) uint8 -> for each task, probabilities (N, C) float32 whose rows add up to 1.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from classify.allocator import keep_freed_memory
from classify.devices import compute_in_batches, fastest_precision
from classify.inference.decision import Probabilities
from classify.models.backbones import Normalise, head_of, normalise_of
from classify.models.frozen_features import FrozenFeatures
from classify.models.heads import Heads

# Images for which calling a network takes longer than computing: they go through it together with their mirrors
FEW = 8


@torch.inference_mode()
def probabilities(
    network: nn.Module,
    heads: Heads,
    inputs: NDArray[Any],
    normalise: Normalise | None,
    device: str,
    *,
    flip: bool = False,
    rows: NDArray[np.intp] | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Probabilities]:
    """The class probabilities of each input, (N, C) for each task of the heads.

    A GPU computes in the number format that is fastest there, a CPU in float32.

    Args:
        network: put into evaluation mode.
        heads: what its outputs mean.
        inputs: (N, H, W, 3) uint8, or (N, D) float32 features when `network` is a head and `normalise` None.
        normalise: from pixels to what the network expects.
        device: where `network` is.
        flip: average over the image and its mirror image.
        rows: (M,) the inputs to predict, in this order, read batch by batch; None for all. `inputs[rows]` would copy
            them all, and those of a large data set do not fit into memory.
        progress: called with the number of inputs after each batch.

    Returns:
        (M, C) for each task.
    """
    network.eval()
    if device == "cpu":
        keep_freed_memory()

    classes = [len(task.classes) for task in heads.tasks]
    rows = np.arange(len(inputs)) if rows is None else rows
    if not len(rows):
        return [np.zeros((0, count), np.float32) for count in classes]
    device_type, precision = torch.device(device).type, fastest_precision(device)

    def predict(images: Tensor) -> Tensor:
        with torch.autocast(device_type, precision, enabled=precision is not torch.float32):
            outputs = network(images)
        return torch.cat(heads.probabilities(outputs.float()), dim=1)

    def compute(batch: Tensor) -> Tensor:
        images = normalise(batch) if normalise else batch
        if flip and len(images) <= FEW:
            plain, mirrored = predict(torch.cat([images, images.flip(3)])).split(len(images))
            return (plain + mirrored) / 2
        return (predict(images) + predict(images.flip(3))) / 2 if flip else predict(images)

    predicted = compute_in_batches(compute, inputs, rows, device, progress, fill=True)
    return [task_probabilities.contiguous().numpy() for task_probabilities in predicted.split(classes, dim=1)]


def frozen_probabilities(
    network: nn.Module,
    heads: Heads,
    inputs: NDArray[np.uint8],
    frozen: FrozenFeatures,
    device: str,
    *,
    flip: bool,
    rows: NDArray[np.intp],
) -> list[Probabilities]:
    """The same from kept features of the network's backbone; arguments and result as those of `probabilities`."""
    normalise, head = normalise_of(network), head_of(network)
    views = [
        probabilities(
            head,
            heads,
            frozen.of(network, normalise, inputs, device, rows=rows, mirrored=mirrored).numpy(),
            None,
            device,
        )
        for mirrored in ([False, True] if flip else [False])
    ]
    return [np.asarray(np.mean(parts, axis=0), np.float32) for parts in zip(*views, strict=True)]
