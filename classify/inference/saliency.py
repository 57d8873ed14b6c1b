"""Where a network looks: Grad-CAM maps, for a network of any family.

In: a trained network, its inputs, and a class for each. Out: maps (N, H, W) in [0, 1].
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cache.errors import UsageError
from classify.inference.bundle import TrainedNetwork
from classify.inference.decision import TINY

AT_ONCE = 8  # images: their activations and gradients are in memory
MAX_STRETCH = 1.6  # of a map's cells: its rows and columns divide the input about equally
PREFIX_TOKENS = (0, 1, 2, 5)  # how many tokens may stand before those of patches, where a network doesn't say


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """A layer whose output is a map of the picture."""

    layer: nn.Module
    as_map: Callable[[Tensor], Tensor]  # its output -> (N, C, h, w)


def saliency_maps(
    trained: TrainedNetwork, task: str, inputs: NDArray[np.uint8], codes: Sequence[int], device: str = "cpu"
) -> NDArray[np.float32] | None:
    """Show what makes a network predict a class.

    Args:
        trained: the network, on `device`.
        task: one that it predicts.
        inputs: (N, H, W, 3).
        codes: (N,) the class of each input whose probability is explained.
        device: where the network is.

    Returns:
        (N, H, W): 1 where the map is strongest, 0 where nothing speaks for the class; None if no layer of the network
        has a map of the picture.

    Raises:
        UsageError: the extra `explain` is not installed.

    Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", 2017.
    """
    try:
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError:
        raise UsageError("saliency pictures need an extra: pip install 'faceline[explain]'") from None

    model = _LogProbabilities(trained, task).to(device).eval()
    images = trained.normalise(torch.from_numpy(inputs).to(device))
    found = find_feature_map(model, trained.network, images[:1], codes[0])
    if found is None:
        return None
    maps: list[NDArray[np.float32]] = []
    with GradCAM(model=model, target_layers=[found.layer], reshape_transform=found.as_map) as cam:
        for start in range(0, len(images), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            targets: list[Any] = [ClassifierOutputTarget(code) for code in codes[part]]
            maps.append(cam(input_tensor=images[part], targets=targets))
    model.zero_grad()
    return np.concatenate(maps)


def find_feature_map(model: nn.Module, network: nn.Module, image: Tensor, code: int) -> FeatureMap | None:
    """Find the last layer whose output is a map of the picture from several cells of which the answer depends.

    Networks name their layers as they like, so this looks at the outputs of all. In a transformer that answers from its
    class token, patches no longer matter after the last attention: the gradient shows it.

    Args:
        model: ends in class scores, (1, C).
        network: the part of it whose layers are looked at.
        image: (1, 3, H, W), normalised.
        code: the class whose score is derived.
    """
    outputs: list[tuple[nn.Module, Callable[[Tensor], Tensor]]] = []
    gradients: dict[int, Tensor] = {}  # position in `outputs` -> the gradient of the class's score
    calls: Counter[nn.Module] = Counter()
    size = (image.shape[2], image.shape[3])

    def look(layer: nn.Module, _inputs: Any, output: Any) -> None:
        calls[layer] += 1
        if not isinstance(output, Tensor) or not output.requires_grad:
            return
        as_map = _map_of(output, size, network)
        if as_map is not None:
            position = len(outputs)
            outputs.append((layer, as_map))
            output.register_hook(lambda gradient: gradients.__setitem__(position, gradient))

    hooks = [layer.register_forward_hook(look) for layer in network.modules()]
    try:
        with torch.enable_grad():
            model(image)[0, code].backward()
    finally:
        for hook in hooks:
            hook.remove()
    for position in reversed(range(len(outputs))):
        layer, as_map = outputs[position]
        # A layer that is used twice has two outputs, of which Grad-CAM would take the first.
        if position in gradients and calls[layer] == 1:
            strength = as_map(gradients[position]).abs().sum(dim=1)
            if int((strength > 0).sum()) > 1:
                return FeatureMap(layer, as_map)
    return None


class _LogProbabilities(nn.Module):
    """Images -> the logarithm of one task's probabilities, (N, C)."""

    def __init__(self, trained: TrainedNetwork, task: str) -> None:
        super().__init__()
        self.network, self._heads = trained.network, trained.heads
        self._column = [each.name for each in trained.heads.tasks].index(task)

    def forward(self, images: Tensor) -> Tensor:
        return self._heads.probabilities(self.network(images))[self._column].clamp_min(TINY).log()


def _map_of(output: Tensor, size: tuple[int, int], network: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """How a layer's output is read as a map (N, C, h, w) of a picture of `size`; None if it is none."""
    shape = tuple(output.shape)
    features = getattr(network, "num_features", None)
    if len(shape) == 4 and _fits(shape[2:], size):
        return _as_it_is
    if len(shape) == 4 and _fits(shape[1:3], size):
        return _channels_first
    if len(shape) == 3 and features in (None, shape[2]):
        prefix = getattr(network, "num_prefix_tokens", None)
        for before in PREFIX_TOKENS if prefix is None else (prefix,):
            rows = max(round(((shape[1] - before) * size[0] / size[1]) ** 0.5), 1) if shape[1] > before else 1
            columns = (shape[1] - before) // rows
            if rows * columns == shape[1] - before and _fits((rows, columns), size):
                return _tokens_as_map(before, rows)
    return None


def _fits(cells: Sequence[int], size: tuple[int, int]) -> bool:
    """Whether cells of a map, more than one in each direction, divide a picture into parts that are about square."""
    if min(cells) < 2:
        return False
    stretch = (size[0] / cells[0]) / (size[1] / cells[1])
    return 1 / MAX_STRETCH < stretch < MAX_STRETCH


def _as_it_is(output: Tensor) -> Tensor:
    return output


def _channels_first(output: Tensor) -> Tensor:
    return output.permute(0, 3, 1, 2)


def _tokens_as_map(before: int, rows: int) -> Callable[[Tensor], Tensor]:
    def as_map(output: Tensor) -> Tensor:
        patches = output[:, before:]
        return patches.reshape(len(patches), rows, -1, patches.shape[2]).permute(0, 3, 1, 2)

    return as_map
