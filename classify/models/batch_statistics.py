"""Batch norm's statistics, measured anew without changing what a network computes.

A network whose publisher folded mean and variance into scale and shift computes the same without them, but does not
train: no layer's inputs are standardised, and at the usual learning rates it collapses. So the statistics are measured
on photos, and scales and shifts changed with them, so that the network goes on computing what it did. The same is done
before a training that starts from a fitted last layer: in steps, the features are then about those of the fit.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from classify.devices import compute_in_batches
from classify.models.backbones import Normalise

PHOTOS = 256  # more change the statistics by less than the batches of a training do
Statistics = tuple[Tensor, Tensor]  # sums over photos of the means and of the mean squares of each channel


@torch.no_grad()
def measure_statistics(
    network: nn.Module, normalise: Normalise, pixels: NDArray[np.uint8], rows: NDArray[np.intp], device: str
) -> None:
    """Give each batch norm the statistics of its inputs; the scales and shifts it has make up for it.

    Those without scale and shift are given the statistics only: afterwards, they standardise.

    Args:
        network: on the device; its outputs in evaluation mode stay what they are.
        normalise: from pixels to what it expects.
        pixels: (N, H, W, 3) uint8.
        rows: of `pixels`, to choose among; evenly spaced ones are taken.
        device: as torch names it.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    if not norms:
        return
    sums: dict[nn.Module, Statistics] = {}

    def add(norm: nn.Module, arguments: tuple[Any, ...]) -> None:
        inputs = arguments[0].double().flatten(2) if arguments[0].ndim > 2 else arguments[0].double()[:, :, None]
        mean, square = sums.get(norm, (0.0, 0.0))
        sums[norm] = mean + inputs.mean(2).sum(0), square + inputs.square().mean(2).sum(0)

    hooks = [norm.register_forward_pre_hook(add) for norm in norms]
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, PHOTOS).astype(np.intp))]
    network.eval()
    compute_in_batches(lambda images: network(normalise(images)), pixels, chosen, device)
    for hook in hooks:
        hook.remove()

    for norm in norms:
        total, squares = sums[norm]
        mean = (total / len(chosen)).float()
        variance = (squares / len(chosen) - (total / len(chosen)).square()).clamp(min=0).float()
        _set_statistics(norm, mean, variance)


def _set_statistics(norm: nn.BatchNorm1d | nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Replace the statistics, and the scale and shift so that nothing else changes."""
    old_mean, old_variance = norm.running_mean, norm.running_var
    assert old_mean is not None and old_variance is not None
    if norm.affine:
        scale = norm.weight / (old_variance + norm.eps).sqrt()
        norm.bias.add_(scale * (mean - old_mean))
        norm.weight.copy_(scale * (variance + norm.eps).sqrt())
    old_mean.copy_(mean)
    old_variance.copy_(variance)
