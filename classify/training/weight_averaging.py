"""The average of the weights after several epochs.

the kept weights after each of the last epochs -> their mean, batch norm's statistics included.

Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018; the uniform soup of
Wortsman et al., "Model Soups", 2022, with the epochs of one training in place of several trainings. The statistics of
batch norm are averaged, too, not counted anew over the training photos as in the first.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """A running sum of weights, in double precision so that it adds up alike wherever it is taken up again.

    Args:
        network: whose weights are averaged; it is copied, not kept.
        last: so many epochs before the end are averaged.
        epochs: of the training.
    """

    def __init__(self, network: nn.Module, last: int, epochs: int) -> None:
        self._first = epochs - last
        self._mean = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
        self._sum: dict[str, Tensor] = {}
        self._added = 0

    @property
    def network(self) -> nn.Module | None:
        """The mean so far; None before the first of the last epochs."""
        return self._mean if self._added else None

    def add(self, network: nn.Module, epoch: int) -> None:
        """Take in the weights after `epoch`, counted from 0; those of earlier epochs have no part."""
        if epoch < self._first:
            return
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                more = value.detach().to(torch.float64, copy=True)
                self._sum[name] = self._sum[name] + more if self._added else more
        self._added += 1
        self._mean.load_state_dict({**network.state_dict(), **self._average()})  # a count of batches stays one

    def tensors(self) -> dict[str, Tensor]:
        """The sum, for a checkpoint."""
        return self._sum

    def restore(self, tensors: Mapping[str, Tensor], network: nn.Module, epochs_done: int) -> None:
        """Go on from a checkpoint's sum; `network` has the weights after its last epoch."""
        self._sum, self._added = dict(tensors), max(epochs_done - self._first, 0)
        if self._added:
            self._mean.load_state_dict({**network.state_dict(), **self._average()})

    def _average(self) -> dict[str, Tensor]:
        held = self._mean.state_dict()
        return {name: (value / self._added).to(held[name].dtype) for name, value in self._sum.items()}
