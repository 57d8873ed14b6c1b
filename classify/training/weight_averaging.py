"""The average of the weights after several epochs.

a network after each of the last epochs -> the mean of its weights and of batch norm's statistics.

Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018; the uniform soup of
Wortsman et al., "Model Soups", 2022, with the epochs of one training in place of several trainings. Batch norm's
statistics are averaged, not computed anew over the training photos as in the first paper.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """A running sum of weights, in double precision so that a resumed sum equals an uninterrupted one.

    Args:
        network: whose weights are averaged; it is copied, not kept.
        last: how many of the last epochs are averaged.
        epochs: of the complete training.
    """

    def __init__(self, network: nn.Module, last: int, epochs: int) -> None:
        self._first = epochs - last
        self._mean = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
        self._sum: dict[str, Tensor] = {}
        self._added = 0

    @property
    def network(self) -> nn.Module | None:
        """The mean so far; None before the first epoch that is averaged."""
        return self._mean if self._added else None

    def add(self, network: nn.Module, epoch: int) -> None:
        """Add the weights after `epoch`, counted from 0; epochs before the last ones are ignored."""
        if epoch < self._first:
            return
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                weights = value.detach().to(torch.float64, copy=True)
                self._sum[name] = self._sum[name] + weights if self._added else weights
        self._added += 1
        self._mean.load_state_dict({**network.state_dict(), **self._average()})  # integers are not averaged

    def tensors(self) -> dict[str, Tensor]:
        """The sum, for a checkpoint."""
        return self._sum

    def restore(self, tensors: Mapping[str, Tensor], network: nn.Module, epochs_done: int) -> None:
        """Continue from a checkpoint's sum; `network` has the weights after its last epoch."""
        devices = {name: value.device for name, value in network.state_dict().items()}
        self._sum = {name: total.to(devices[name]) for name, total in tensors.items()}
        self._added = max(epochs_done - self._first, 0)
        if self._added:
            self._mean.load_state_dict({**network.state_dict(), **self._average()})

    def _average(self) -> dict[str, Tensor]:
        """The mean of each floating-point tensor, in the network's number format."""
        dtypes = {name: tensor.dtype for name, tensor in self._mean.state_dict().items()}
        return {name: (total / self._added).to(dtypes[name]) for name, total in self._sum.items()}
