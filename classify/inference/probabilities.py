"""Probabilities from a trained network.

inputs (N, H, W, 3) uint8 -> for each task, probabilities (N, C) float32 whose rows add up to 1.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from classify.allocator import keep_freed_memory
from classify.inference.decision import Probabilities
from classify.models.backbones import Normalise
from classify.models.heads import Heads

BATCH = 64


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
) -> list[Probabilities]:
    """The class probabilities of each input, (N, C) for each task of the heads.

    Args:
        network: put into evaluation mode.
        heads: what its outputs mean.
        inputs: (N, H, W, 3) uint8, or (N, D) float32 features when `network` is a head and `normalise` None.
        normalise: from pixels to what the network expects.
        device: where `network` is.
        flip: average over the image and its mirror image.
        rows: (M,) the inputs to predict, in this order, read batch by batch; None for all. `inputs[rows]` would copy
            them all, and those of a large data set do not fit into memory.

    Returns:
        (M, C) for each task.
    """
    network.eval()
    if device == "cpu":
        keep_freed_memory()

    def predict(batch: Tensor) -> list[Tensor]:
        return heads.probabilities(network(batch).float())

    batches: list[list[Probabilities]] = [[np.zeros((0, len(task.classes)), np.float32)] for task in heads.tasks]
    rows = np.arange(len(inputs)) if rows is None else rows
    for start in range(0, len(rows), BATCH):
        batch = torch.from_numpy(np.asarray(inputs[rows[start : start + BATCH]])).to(device)
        batch = normalise(batch) if normalise else batch
        predicted = predict(batch)
        if flip:
            mirrored = predict(batch.flip(3))
            predicted = [(plain + mirror) / 2 for plain, mirror in zip(predicted, mirrored, strict=True)]
        for task_batches, task_probabilities in zip(batches, predicted, strict=True):
            task_batches.append(task_probabilities.cpu().numpy())
    return [np.concatenate(task_batches) for task_batches in batches]
